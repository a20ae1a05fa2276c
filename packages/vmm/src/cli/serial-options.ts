import { InvalidArgumentError, Option } from "commander";
import { parseSize } from "../config.ts";
import {
  DEFAULT_BUDGET,
  DEFAULT_STALL_LIMIT,
  defaultSetting,
  MAXIMUM_KEEP,
  type OutputPolicy,
  type SerialEndSetting,
  type SerialSetting,
  type SocketAddress,
} from "../serial/serial-setting.ts";

/** What `--serial` adds to the options of `entresol boot`. */
export interface SerialBootOptions {
  /** In the order of the command line, each port at most once. */
  readonly serial?: readonly SerialSetting[];
}

/** The options of serial ports, to be added to a command. */
export function serialOptions(): Option[] {
  return [
    new Option(
      "--serial <port=end>",
      "join a serial port, com1 to com4, to: console, null, file:PATH, socket:unix:PATH, socket:tcp:[HOST:]PORT, " +
        "pty or websocket:[HOST:]PORT; then, after commas: connect, origin=URL, policy=hold|stall|budget|ring, " +
        "limit=MS, rate=SIZE, burst=SIZE, keep=SIZE, pacing, input=wait|now (repeatable; default: com1=console)",
    ).argParser(addSerialSetting),
  ];
}

function refuse(message: string): never {
  throw new InvalidArgumentError(message);
}

/** One more `--serial`. */
function addSerialSetting(text: string, previous: readonly SerialSetting[] | undefined): SerialSetting[] {
  const settings = previous ?? [];
  const setting = parseSerialSetting(text);
  if (settings.some(({ port }) => port === setting.port)) refuse(`com${setting.port + 1} is joined twice.`);
  if (setting.end.kind === "console" && settings.some(({ end }) => end.kind === "console"))
    refuse("There is one console: only one port can be joined to it.");
  return [...settings, setting];
}

/** What may stand behind the end, and whether it has a value. */
const qualifiers: Readonly<Record<string, "flag" | "value">> = {
  connect: "flag",
  pacing: "flag",
  origin: "value",
  policy: "value",
  limit: "value",
  rate: "value",
  burst: "value",
  keep: "value",
  input: "value",
};

/** Reads one `--serial` argument. A comma in a path is written twice. Throws commander's `InvalidArgumentError` that says what is wrong. */
export function parseSerialSetting(text: string): SerialSetting {
  const match = /^com([1-4])=(.+)$/is.exec(text);
  if (match === null) refuse("It must begin with com1= to com4=, as in com3=file:log.txt.");
  const [place, ...rest] = splitAtCommas(match[2]!);
  const given = new Map<string, string>();
  for (const item of rest) {
    const [, name, value] = /^([^=]*)=?(.*)$/s.exec(item)!;
    const form = qualifiers[name!];
    if (form === undefined || given.has(name!)) refuse(`"${item}" is not known here, or stands twice.`);
    if ((form === "value") !== item.includes("=") || (form === "value" && value === ""))
      refuse(form === "value" ? `${name} needs a value.` : `${name} takes no value.`);
    given.set(name!, value!);
  }
  const end = parseEnd(place!, given);
  const defaults = defaultSetting(end);
  const setting: SerialSetting = {
    port: Number(match[1]) - 1,
    end,
    policy: parsePolicy(given, defaults.policy),
    keep: takeSize(given, "keep", defaults.keep, MAXIMUM_KEEP),
    pacing: given.delete("pacing") || defaults.pacing,
    input: parseInput(given) ?? defaults.input,
  };
  for (const name of given.keys()) refuse(`${name} does not go with ${place} and its policy.`);
  return setting;
}

/** Parts between commas. Two commas are one that belongs to its part. */
function splitAtCommas(text: string): string[] {
  const parts: string[] = [];
  let part = "";
  for (let at = 0; at < text.length; at++) {
    if (text[at] !== ",") part += text[at];
    else if (text[at + 1] === ",") {
      part += ",";
      at++;
    } else {
      parts.push(part);
      part = "";
    }
  }
  return [...parts, part];
}

function parseEnd(place: string, given: Map<string, string>): SerialEndSetting {
  const [, kind, rest] = /^([a-z]*):?(.*)$/s.exec(place)!;
  switch (kind) {
    case "console":
    case "null":
    case "pty":
      if (rest !== "") refuse(`${kind} stands alone.`);
      return { kind };
    case "file":
      if (rest === "") refuse("file: needs a path.");
      return { kind, path: rest! };
    case "socket":
      return { kind, address: parseSocketAddress(rest!), connect: given.delete("connect") };
    case "websocket": {
      const { host, port } = parseHostAndPort(rest!);
      const origin = given.get("origin");
      given.delete("origin");
      return { kind, host, port, origins: origin === undefined ? [] : [parseOrigin(origin)] };
    }
    default:
      return refuse(
        `"${place}" is no end: console, null, file:PATH, socket:unix:PATH, socket:tcp:[HOST:]PORT, pty or websocket:[HOST:]PORT.`,
      );
  }
}

function parseSocketAddress(text: string): SocketAddress {
  const [, family, rest] = /^([a-z]*):?(.*)$/s.exec(text)!;
  if (family === "tcp") return { family, ...parseHostAndPort(rest!) };
  if (family !== "unix") refuse("socket: goes on with unix:PATH or tcp:[HOST:]PORT.");
  // What sockaddr_un of Linux holds, its closing zero included.
  if (rest === "" || Buffer.byteLength(rest!) > 107)
    refuse("socket:unix: needs a path of at most 107 bytes.");
  return { family: "unix", path: rest! };
}

/** Without a host only this machine is served. Port 0 is any that is free. */
function parseHostAndPort(text: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]:|([^:[\]]+):)?(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65535) refuse(`"${text}" is not PORT or HOST:PORT.`);
  return { host: match[1] ?? match[2] ?? "127.0.0.1", port };
}

function parseOrigin(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || url.origin !== text)
    refuse(`origin=${text} is not what a browser sends, such as http://localhost:8080.`);
  return text;
}

function parsePolicy(given: Map<string, string>, fallback: OutputPolicy): OutputPolicy {
  const kind = given.get("policy") ?? fallback.kind;
  given.delete("policy");
  switch (kind) {
    case "hold":
    case "ring":
      return { kind };
    case "stall":
      return { kind, limit: takeMilliseconds(given, "limit", DEFAULT_STALL_LIMIT) };
    case "budget":
      return {
        kind,
        rate: takeSize(given, "rate", DEFAULT_BUDGET.rate, MAXIMUM_KEEP),
        burst: takeSize(given, "burst", DEFAULT_BUDGET.burst, MAXIMUM_KEEP),
      };
    default:
      return refuse(`policy=${kind} is not hold, stall, budget or ring.`);
  }
}

/** Gives ns. */
function takeMilliseconds(given: Map<string, string>, name: string, fallback: number): number {
  const text = given.get(name);
  given.delete(name);
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!/^\d{1,7}$/.test(text) || value === 0) refuse(`${name}=${text} is no number of milliseconds.`);
  return value * 1_000_000;
}

function takeSize(given: Map<string, string>, name: string, fallback: number, maximum: number): number {
  const text = given.get(name);
  given.delete(name);
  if (text === undefined) return fallback;
  const value = parseSize(text);
  if (value === undefined || value === 0 || value > maximum)
    refuse(`${name}=${text} is no size from 1 to ${maximum} bytes.`);
  return value;
}

function parseInput(given: Map<string, string>): "wait" | "now" | undefined {
  const text = given.get("input");
  given.delete("input");
  if (text !== undefined && text !== "wait" && text !== "now") refuse(`input=${text} is not wait or now.`);
  return text;
}

/** Ports that a machine with these settings needs: COM1 and the agent's COM2 are always there. */
export function serialPortCount(settings: readonly SerialSetting[] | undefined): number {
  return Math.max(2, ...(settings ?? []).map(({ port }) => port + 1));
}
