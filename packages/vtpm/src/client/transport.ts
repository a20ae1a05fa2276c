import { type NetConnectOpts, connect as openSocket, type Socket } from "node:net";
import { EntresolError } from "@entresol/wire";
import type { TpmExecutor } from "../executor.ts";

/** Takes a TPM's commands somewhere and brings its responses. */
export interface TpmTransport {
  /** Sends one whole command and gives the whole response. Rejects when the TPM cannot be reached. */
  send(command: Uint8Array, locality?: number): Promise<Uint8Array>;
  close(): void;
}

/** What can go wrong between a client and its TPM. Response codes are a `TpmError` instead. */
export type TpmClientCode =
  /** The connection ended, or was never there. */
  | "disconnected"
  /** What came is no response to the command. */
  | "malformed-response"
  /** The response was not made by who knows the session's secrets. */
  | "wrong-hmac"
  /** The command or its sessions cannot be sent so. */
  | "unsupported";

export class TpmClientError extends EntresolError<TpmClientCode> {
  override readonly name = "TpmClientError";
}

/** What runs a command at once: `Tpm` and `TpmHost`. */
export interface CommandRunner {
  execute(command: Uint8Array, locality?: number): Uint8Array;
}

/** To a TPM in this process. */
export function inProcess(runner: CommandRunner): TpmTransport {
  return {
    send: async (command, locality = 0) => runner.execute(command, locality),
    close() {},
  };
}

/** Milliseconds between two looks at a command that runs on. */
const PAUSE = 1;

/** To the TPM behind a machine's registers. While a guest's command runs, and when power goes, a command is rejected with "disconnected". */
export function overExecutor(executor: TpmExecutor): TpmTransport {
  return {
    async send(command, locality = 0) {
      if (executor.busy) throw new TpmClientError("disconnected", "the TPM runs another's command");
      executor.start(new Uint8Array(command), locality);
      while (executor.busy) {
        const response = executor.poll();
        if (response !== undefined) return response;
        await new Promise((resolve) => setTimeout(resolve, PAUSE));
      }
      throw new TpmClientError("disconnected", "the command ended without a response, as power went");
    },
    close() {},
  };
}

const HEADER = 10;
const LARGEST_RESPONSE = 65_536;

interface Waiting {
  readonly resolve: (response: Uint8Array) => void;
  readonly reject: (error: Error) => void;
}

/**
 * To a TPM behind a data channel of swtpm's kind: bare commands and responses, each as long as its header says. Commands are answered in
 * their order. The locality is the service's: another than 0 is "unsupported".
 */
class SocketTransport implements TpmTransport {
  readonly #socket: Socket;
  readonly #patience: number;
  #timer: NodeJS.Timeout | undefined;
  readonly #waiting: Waiting[] = [];
  #received: Buffer = Buffer.alloc(0);
  #fault: TpmClientError | undefined;

  constructor(socket: Socket, patience: number) {
    this.#socket = socket;
    this.#patience = patience;
    socket.setNoDelay(true);
    socket.on("data", (bytes: Buffer) => this.#receive(bytes));
    socket.on("error", (error) => this.#end(error));
    socket.on("close", () => this.#end(undefined));
  }

  send(command: Uint8Array, locality = 0): Promise<Uint8Array> {
    if (locality !== 0)
      return Promise.reject(
        new TpmClientError("unsupported", "a data channel carries no locality: the service sets it"),
      );
    if (this.#fault !== undefined) return Promise.reject(this.#fault);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      if (this.#waiting.length === 1) this.#expect();
      this.#socket.write(command);
    });
  }

  close(): void {
    this.#socket.destroy();
    this.#end(undefined);
  }

  /** The next response comes in time, whole: single bytes now and then count for nothing. */
  #expect(): void {
    clearTimeout(this.#timer);
    if (this.#waiting.length === 0) return;
    this.#timer = setTimeout(() => {
      this.#fail(new TpmClientError("disconnected", `no response within ${this.#patience} ms`));
      this.#socket.destroy();
    }, this.#patience);
  }

  #receive(bytes: Buffer): void {
    this.#received = this.#received.length === 0 ? bytes : Buffer.concat([this.#received, bytes]);
    while (this.#received.length >= HEADER) {
      const length = this.#received.readUInt32BE(2);
      const waiting = this.#waiting[0];
      // A length out of bounds or a response that nobody asked for: nothing behind it can be told apart any more.
      if (length < HEADER || length > LARGEST_RESPONSE || waiting === undefined) {
        this.#fail(new TpmClientError("malformed-response", `a response that says it has ${length} bytes`));
        this.#socket.destroy();
        return;
      }
      if (this.#received.length < length) return;
      this.#waiting.shift();
      this.#expect();
      waiting.resolve(new Uint8Array(this.#received.subarray(0, length)));
      this.#received = this.#received.subarray(length);
    }
  }

  #end(cause: Error | undefined): void {
    const reason = cause === undefined ? "" : `: ${cause.message}`;
    this.#fail(new TpmClientError("disconnected", `the connection to the TPM is over${reason}`, { cause }));
  }

  #fail(fault: TpmClientError): void {
    this.#fault ??= fault;
    clearTimeout(this.#timer);
    for (const { reject } of this.#waiting.splice(0)) reject(this.#fault);
  }
}

export interface ConnectOptions {
  /** Milliseconds that a connection, and each response, may take. The longest commands make RSA keys: by default five minutes, as Linux waits for them. */
  readonly patience?: number;
}

const PATIENCE = 300_000;

/**
 * Connects to a data channel: `{ path }` of a unix socket or `{ host, port }`. Rejects with "disconnected" when nobody is there. Who does not answer in
 * time is disconnected from.
 */
export function connectTpm(
  place: NetConnectOpts,
  { patience = PATIENCE }: ConnectOptions = {},
): Promise<TpmTransport> {
  return new Promise((resolve, reject) => {
    const socket = openSocket(place);
    const failed = (cause: Error): void => {
      clearTimeout(timer);
      reject(new TpmClientError("disconnected", `the TPM cannot be reached: ${cause.message}`, { cause }));
    };
    const timer = setTimeout(() => socket.destroy(new Error(`not within ${patience} ms`)), patience);
    socket.once("error", failed);
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.off("error", failed);
      resolve(new SocketTransport(socket, patience));
    });
  });
}
