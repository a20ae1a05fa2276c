import type { Server, Socket } from "node:net";
import { waitForReader } from "./backpressure.ts";
import { words } from "./control-commands.ts";
import { type ListeningPlace, listen } from "./listening.ts";
import { BUFFER_LIMITS, type TpmHost } from "./tpm-host.ts";

/*
 * The protocol of the TCG reference's simulator ("mssim", TpmTcpProtocol.h): TPM commands on one port, the platform's signals on the next.
 * Big-endian 32-bit codes; every exchange ends with a 32-bit 0. One table for both ports.
 */

/** What goes with a request: bytes of fixed length, after which `payload` says that the last four of them are a length. */
interface SimulatorCommand {
  readonly code: number;
  readonly name: string;
  readonly port: "command" | "platform" | "both";
  readonly body?: number;
  readonly payload?: boolean;
  /** What is sent before the final 0; undefined: there is no reply at all, the connection or the service ends. */
  run(service: MssimHost, body: DataView, payload: Uint8Array): Uint8Array | undefined;
}

interface MssimHost {
  readonly host: TpmHost;
  /** Ends the service. */
  stop(): void;
}

const NONE = new Uint8Array(0);
/** Longest command or piece of a measurement that is taken, in bytes. */
const LARGEST_PAYLOAD = BUFFER_LIMITS.maximum;
const SERVER_VERSION = 1;
/** tpmPlatformAvailable, tpmInRawMode, tpmSupportsPP. */
const SERVER_FLAGS = 0x01 | 0x04 | 0x08;

/** Signals that have nothing to act on here are acknowledged: NV is always there, and keys are never cached. */
const acknowledged = (): Uint8Array => NONE;

function powerOn({ host }: MssimHost): Uint8Array {
  // Clients send it whenever they connect: a TPM that has power keeps what it knows.
  if (!host.running) host.start(true);
  return NONE;
}

function powerCycle({ host }: MssimHost): Uint8Array {
  if (host.running) host.start(true);
  return NONE;
}

export const simulatorCommands: readonly SimulatorCommand[] = [
  { code: 1, name: "SIGNAL_POWER_ON", port: "platform", run: powerOn },
  {
    code: 2,
    name: "SIGNAL_POWER_OFF",
    port: "platform",
    run({ host }) {
      host.stop();
      return NONE;
    },
  },
  {
    code: 3,
    name: "SIGNAL_PHYS_PRES_ON",
    port: "platform",
    run({ host }) {
      host.setPhysicalPresence(true);
      return NONE;
    },
  },
  {
    code: 4,
    name: "SIGNAL_PHYS_PRES_OFF",
    port: "platform",
    run({ host }) {
      host.setPhysicalPresence(false);
      return NONE;
    },
  },
  {
    code: 5,
    name: "SIGNAL_HASH_START",
    port: "platform",
    run({ host }) {
      host.hashStart();
      return NONE;
    },
  },
  {
    code: 6,
    name: "SIGNAL_HASH_DATA",
    port: "platform",
    body: 4,
    payload: true,
    run({ host }, _body, payload) {
      host.hashData(payload);
      return NONE;
    },
  },
  {
    code: 7,
    name: "SIGNAL_HASH_END",
    port: "platform",
    run({ host }) {
      host.hashEnd();
      return NONE;
    },
  },
  {
    code: 8,
    name: "SEND_COMMAND",
    port: "command",
    body: 5,
    payload: true,
    run({ host }, body, payload) {
      const response = host.execute(payload, body.getUint8(0));
      return Buffer.concat([words(response.length), response]);
    },
  },
  {
    code: 9,
    name: "SIGNAL_CANCEL_ON",
    port: "platform",
    run({ host }) {
      host.cancel();
      return NONE;
    },
  },
  { code: 10, name: "SIGNAL_CANCEL_OFF", port: "platform", run: acknowledged },
  { code: 11, name: "SIGNAL_NV_ON", port: "platform", run: acknowledged },
  { code: 12, name: "SIGNAL_NV_OFF", port: "platform", run: acknowledged },
  { code: 13, name: "SIGNAL_KEY_CACHE_ON", port: "platform", run: acknowledged },
  { code: 14, name: "SIGNAL_KEY_CACHE_OFF", port: "platform", run: acknowledged },
  {
    code: 15,
    name: "REMOTE_HANDSHAKE",
    port: "command",
    body: 4,
    run: () => words(SERVER_VERSION, SERVER_FLAGS),
  },
  { code: 17, name: "SIGNAL_RESET", port: "platform", run: powerCycle },
  { code: 18, name: "SIGNAL_RESTART", port: "platform", run: powerCycle },
  { code: 20, name: "SESSION_END", port: "both", run: () => undefined },
  {
    code: 21,
    name: "STOP",
    port: "both",
    run({ stop }) {
      stop();
      return undefined;
    },
  },
  {
    code: 25,
    name: "GET_COMMAND_RESPONSE_SIZES",
    port: "both",
    run: () => words(BUFFER_LIMITS.maximum, BUFFER_LIMITS.maximum),
  },
];

const ports = ["command", "platform"] as const;
type Port = (typeof ports)[number];

/** Splits what a client of one port sends into requests and runs them. */
export class SimulatorConnection {
  readonly #service: MssimHost;
  readonly #commands: ReadonlyMap<number, SimulatorCommand>;
  #pending: Uint8Array = NONE;

  constructor(service: MssimHost, port: Port) {
    this.#service = service;
    this.#commands = new Map(
      simulatorCommands.filter((c) => c.port === port || c.port === "both").map((c) => [c.code, c]),
    );
  }

  /** Gives the replies to what came, and whether the connection is over. Never throws. */
  receive(bytes: Uint8Array): { readonly replies: Uint8Array; readonly over: boolean } {
    this.#pending = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    const replies: Uint8Array[] = [];
    for (;;) {
      const outcome = this.#next();
      if (outcome === "more") return { replies: Buffer.concat(replies), over: false };
      if (outcome === "over") return { replies: Buffer.concat(replies), over: true };
      replies.push(outcome, words(0));
    }
  }

  #next(): Uint8Array | "more" | "over" {
    const bytes = this.#pending;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length < 4) return "more";
    const command = this.#commands.get(view.getUint32(0));
    // Nothing says how long an unknown request is.
    if (command === undefined) return "over";
    let end = 4 + (command.body ?? 0);
    if (bytes.length < end) return "more";
    const body = new DataView(bytes.buffer, bytes.byteOffset + 4, end - 4);
    const start = end;
    if (command.payload === true) {
      const length = view.getUint32(end - 4);
      if (length > LARGEST_PAYLOAD) return "over";
      end += length;
      if (bytes.length < end) return "more";
    }
    this.#pending = bytes.subarray(end);
    try {
      return command.run(this.#service, body, bytes.subarray(start, end)) ?? "over";
    } catch {
      // There is no reply for a TPM whose state cannot be read.
      return "over";
    }
  }
}

export interface MssimServiceOptions {
  readonly host: TpmHost;
  readonly command: ListeningPlace;
  readonly platform: ListeningPlace;
  log?(line: string): void;
}

/** The simulator's two ports. The TPM has no power until a client of the platform port gives it. */
export class MssimService implements MssimHost {
  readonly host: TpmHost;
  readonly ended: Promise<void>;
  readonly stop: () => void;
  readonly #servers: Server[] = [];
  readonly #connections = new Set<Socket>();

  private constructor(host: TpmHost) {
    this.host = host;
    let end = (): void => {};
    this.ended = new Promise((resolve) => {
      end = resolve;
    });
    this.stop = end;
  }

  /** Resolves when clients may come. Rejects with the system's error; nothing is left open then. */
  static async open(options: MssimServiceOptions): Promise<MssimService> {
    const service = new MssimService(options.host);
    try {
      for (const port of ports)
        service.#servers.push(await listen(options[port], (socket) => service.#serve(socket, port, options)));
    } catch (error) {
      await service.close();
      throw error;
    }
    return service;
  }

  async close(): Promise<void> {
    this.stop();
    const closed = this.#servers.map((server) => new Promise((resolve) => server.close(resolve)));
    for (const socket of this.#connections) socket.destroy();
    await Promise.all(closed);
    this.host.stop();
  }

  /** TCP port of the command or platform port. */
  portOf(port: Port): number | undefined {
    const place = this.#servers[ports.indexOf(port)]?.address();
    return typeof place === "object" && place !== null ? place.port : undefined;
  }

  #serve(socket: Socket, port: Port, { log }: MssimServiceOptions): void {
    this.#connections.add(socket);
    const connection = new SimulatorConnection(this, port);
    socket.setNoDelay(true);
    socket.once("close", () => this.#connections.delete(socket));
    socket.on("error", (error) => log?.(`${port} port: ${error.message}`));
    socket.on("data", (bytes: Buffer) => {
      if (!socket.writable) return;
      const { replies, over } = connection.receive(bytes);
      if (over) socket.end(replies);
      else if (replies.length > 0) {
        socket.write(replies);
        waitForReader(socket);
      }
    });
    socket.resume();
  }
}
