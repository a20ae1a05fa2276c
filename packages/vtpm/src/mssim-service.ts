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
  /** What is sent before the final 0; undefined: there is no reply at all, the connection or the service ends; "later": `reply` gets it. */
  run(
    service: MssimHost,
    body: DataView,
    payload: Uint8Array,
    reply: (bytes: Uint8Array) => void,
  ): Uint8Array | "later" | undefined;
}

/** The largest since somebody asked: size in bytes, and the code of the command. */
export class CommandSizes {
  largestCommand: readonly [size: number, code: number] = [0, 0];
  largestResponse: readonly [size: number, code: number] = [0, 0];

  count(command: Uint8Array, response: Uint8Array): void {
    const code = command.length < 10 ? 0 : new DataView(command.buffer, command.byteOffset).getUint32(6);
    if (command.length > this.largestCommand[0]) this.largestCommand = [command.length, code];
    if (response.length > this.largestResponse[0]) this.largestResponse = [response.length, code];
  }
}

interface MssimHost {
  readonly host: TpmHost;
  readonly sizes: CommandSizes;
  /** Ends the service. */
  stop(): void;
}

const NONE = new Uint8Array(0);
/** In the place of END. */
const UNKNOWN = words(1);
/** Ends every exchange. */
const END = words(0);
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
    run({ host, sizes }, body, payload, reply) {
      host.submit(payload, body.getUint8(0), (response) => {
        sizes.count(payload, response);
        reply(Buffer.concat([words(response.length), response]));
      });
      return "later";
    },
  },
  {
    code: 9,
    name: "SIGNAL_CANCEL_ON",
    port: "platform",
    run({ host }) {
      host.holdCancel(true);
      return NONE;
    },
  },
  {
    code: 10,
    name: "SIGNAL_CANCEL_OFF",
    port: "platform",
    run({ host }) {
      host.holdCancel(false);
      return NONE;
    },
  },
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
  // What clients are told of a remote TPM's result; a simulator has no other than its own.
  { code: 16, name: "SET_ALTERNATIVE_RESULT", port: "command", body: 4, run: acknowledged },
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
    port: "platform",
    run({ sizes }) {
      const { largestCommand, largestResponse } = sizes;
      const told = words(16, ...largestCommand, ...largestResponse);
      sizes.largestCommand = [0, 0];
      sizes.largestResponse = [0, 0];
      return told;
    },
  },
  {
    code: 26,
    name: "ACT_GET_SIGNALED",
    port: "platform",
    body: 4,
    run: ({ host }, body) => words(host.isActSignaled(body.getUint32(0)) ? 1 : 0),
  },
  {
    code: 30,
    name: "TEST_FAILURE_MODE",
    port: "platform",
    run({ host }) {
      host.forceFailure();
      return NONE;
    },
  },
  // Nothing here is limited to a firmware or its version.
  { code: 35, name: "SET_FW_HASH", port: "platform", body: 4, run: acknowledged },
  { code: 36, name: "SET_FW_SVN", port: "platform", body: 4, run: acknowledged },
];

const ports = ["command", "platform"] as const;
type Port = (typeof ports)[number];

export interface SimulatorConnectionOptions {
  readonly service: MssimHost;
  readonly port: Port;
  send(reply: Uint8Array): void;
  /** The connection is over. */
  end(): void;
}

/** Splits what a client of one port sends into requests and runs them, one after the other. */
export class SimulatorConnection {
  readonly #options: SimulatorConnectionOptions;
  readonly #commands: ReadonlyMap<number, SimulatorCommand>;
  #pending: Uint8Array = NONE;
  #waiting = false;
  #over = false;

  constructor(options: SimulatorConnectionOptions) {
    this.#options = options;
    this.#commands = new Map(
      simulatorCommands
        .filter(({ port }) => port === options.port || port === "both")
        .map((command) => [command.code, command]),
    );
  }

  /** A command has no response yet: the client has to wait. */
  get waiting(): boolean {
    return this.#waiting;
  }

  /** Bytes from the client, cut anywhere. Never throws. */
  receive(bytes: Uint8Array): void {
    if (this.#over) return;
    this.#pending = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    this.#run();
  }

  #run(): void {
    while (!this.#waiting && !this.#over) {
      const outcome = this.#next();
      if (outcome === "more") return;
      if (outcome === "over") {
        this.#over = true;
        this.#options.end();
      } else if (outcome !== "later") this.#send(outcome);
    }
  }

  /** In one piece: tpm2-tss takes a part of what it waits for as a failure. */
  #send(reply: Uint8Array): void {
    this.#options.send(Buffer.concat([reply, END]));
  }

  #next(): Uint8Array | "more" | "over" | "later" {
    const bytes = this.#pending;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length < 4) return "more";
    const command = this.#commands.get(view.getUint32(0));
    if (command === undefined) {
      // Nothing says how long an unknown request is: the answer is that there is none, and the connection ends.
      this.#options.send(UNKNOWN);
      return "over";
    }
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
      return this.#answer(command, body, bytes.subarray(start, end)) ?? "over";
    } catch {
      // There is no reply for a TPM whose state cannot be read.
      return "over";
    }
  }

  #answer(command: SimulatorCommand, body: DataView, payload: Uint8Array): Uint8Array | "later" | undefined {
    let atOnce = true;
    this.#waiting = true;
    const outcome = command.run(this.#options.service, body, payload, (reply) => {
      this.#waiting = false;
      this.#send(reply);
      if (!atOnce) this.#run();
    });
    atOnce = false;
    if (outcome !== "later") this.#waiting = false;
    return outcome;
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
  readonly sizes = new CommandSizes();
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
    const connection = new SimulatorConnection({
      service: this,
      port,
      send(reply) {
        if (!socket.writable) return;
        socket.write(reply);
        if (socket.isPaused()) socket.resume();
      },
      end: () => socket.end(),
    });
    socket.setNoDelay(true);
    socket.once("close", () => this.#connections.delete(socket));
    socket.on("error", (error) => log?.(`${port} port: ${error.message}`));
    socket.on("data", (bytes: Buffer) => {
      if (!socket.writable) return;
      connection.receive(bytes);
      if (connection.waiting) socket.pause();
      else waitForReader(socket);
    });
    socket.resume();
  }
}
