import type { ListeningPlace } from "../listening.ts";
import type { ChannelPlace } from "../socket-service.ts";
import { CommandError, EXIT_USAGE } from "./exit-status.ts";
import { KeyValues } from "./key-values.ts";

const LOOPBACK = "127.0.0.1";
const LARGEST_PORT = 0xffff;
const LARGEST_DESCRIPTOR = 2 ** 20;
const LARGEST_ID = 2 ** 32 - 2;
const SOCKET_MODE = 0o770;

export function tcpPlace(port: number, address: string = LOOPBACK): ListeningPlace {
  return { kind: "tcp", port, address };
}

function placeOf(values: KeyValues): ListeningPlace | undefined {
  const descriptor = values.number("fd", LARGEST_DESCRIPTOR);
  if (descriptor !== undefined) return { kind: "descriptor", descriptor };
  if (values.choice("type", "tcp", "unixio") === "tcp") {
    const port = values.number("port", LARGEST_PORT);
    if (port === undefined) return undefined;
    const address = values.text("bindaddr") ?? LOOPBACK;
    const name = values.text("ifname");
    return tcpPlace(port, name === undefined ? address : `${address}%${name}`);
  }
  const path = values.text("path");
  if (path === undefined) return undefined;
  const uid = values.number("uid", LARGEST_ID);
  const gid = values.number("gid", LARGEST_ID);
  return {
    kind: "unix",
    path,
    mode: values.mode(SOCKET_MODE),
    ...(uid !== undefined && { uid }),
    ...(gid !== undefined && { gid }),
  };
}

const placeNames = ["type", "port", "bindaddr", "ifname", "fd", "path", "mode", "uid", "gid"];

/** A data channel as options ask for it. */
export interface DataChannel {
  readonly place: ChannelPlace;
  readonly oneCommand: boolean;
  readonly terminate: boolean;
}

/** `--server`, whose `fd` is a connection and not a listener. Throws `CommandError`. */
export function serverOption(text: string): DataChannel {
  const values = new KeyValues("--server", text, [...placeNames, "disconnect"]);
  const place = placeOf(values);
  if (place === undefined) throw values.fault("needs port=, path= or fd=");
  const oneCommand = values.flag("disconnect");
  if (place.kind === "descriptor") return connectedData(place.descriptor);
  return { place, oneCommand, terminate: false };
}

/** `--fd`, or an `fd` of `--server`: commands come over this one, and with it the service ends. */
export function connectedData(descriptor: number): DataChannel {
  return { place: { kind: "connected", descriptor }, oneCommand: false, terminate: true };
}

/** A control channel as options ask for it. */
export interface ControlChannel {
  readonly place: ChannelPlace;
  readonly terminate: boolean;
}

/** `--ctrl`. Throws `CommandError`. */
export function controlOption(text: string): ControlChannel {
  const values = new KeyValues("--ctrl", text, [...placeNames, "clientfd", "terminate"]);
  const terminate = values.flag("terminate");
  const client = values.number("clientfd", LARGEST_DESCRIPTOR);
  if (client !== undefined) {
    if (values.has("fd")) throw values.fault("takes fd= or clientfd=, not both");
    return { place: { kind: "connected", descriptor: client }, terminate };
  }
  const place = placeOf(values);
  if (place === undefined) throw values.fault("needs port=, path=, fd= or clientfd=");
  return { place, terminate };
}

/** A number of an option by itself. Throws `CommandError`. */
export function portNumber(option: string, text: string): number {
  const number = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (!(number <= LARGEST_PORT))
    throw new CommandError(EXIT_USAGE, `${option} ${text}: it is a number up to ${LARGEST_PORT}`);
  return number;
}
