import {
  type ControlCommand,
  type ControlSurroundings,
  controlCommands,
  Result,
  words,
} from "./control-commands.ts";
import type { TpmHost } from "./tpm-host.ts";

const byCode = new Map(controlCommands.map((command) => [command.code, command]));

/** How long the rest of a request may take, in ms, before what came is answered as too short. */
const GRACE = 200;
const NONE = new Uint8Array(0);

export interface ControlConnectionOptions {
  readonly host: TpmHost;
  readonly surroundings: ControlSurroundings;
  send(reply: Uint8Array): void;
  /** The connection cannot go on: what comes next would be taken for something else. */
  end(): void;
  log?(line: string): void;
}

/** A request whose payload is still coming. */
interface Incoming {
  readonly command: ControlCommand;
  readonly body: DataView;
  readonly pieces: Uint8Array[];
  remaining: number;
  /** Of another state than the command needs: its payload is passed over. */
  readonly refused: boolean;
}

/**
 * One client of the control channel. Requests carry no length of their own: one is over when the bytes that its command needs are there, and
 * a client waits for the reply before it asks again. So bytes in excess are a fault of the same request, as swtpm has it.
 */
export class ControlConnection {
  readonly #options: ControlConnectionOptions;
  #pending: Uint8Array = NONE;
  #incoming: Incoming | undefined;
  #grace: NodeJS.Timeout | undefined;
  /** A request waits for the storage: it is answered before anything else. */
  #waiting = false;
  #closed = false;

  constructor(options: ControlConnectionOptions) {
    this.#options = options;
  }

  /** Bytes from the client, cut anywhere. Never throws. */
  receive(bytes: Uint8Array): void {
    clearTimeout(this.#grace);
    if (this.#waiting) return;
    if (this.#incoming !== undefined) {
      this.#takePayload(this.#incoming, bytes);
      return;
    }
    this.#pending = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    this.#parse();
  }

  /** The client is gone. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#grace);
    this.#incoming = undefined;
    this.#pending = NONE;
  }

  #parse(): void {
    const bytes = this.#pending;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length < 4) {
      this.#wait(() => this.#options.end());
      return;
    }
    const code = view.getUint32(0);
    const command = byCode.get(code);
    const length = bytes.length - 4;
    if (command === undefined) {
      this.#options.log?.(`control: unknown command 0x${code.toString(16)}`);
      this.#reply(words(Result.BAD_ORDINAL));
    } else if (length < command.body[0]) {
      this.#wait(() => this.#reply(words(Result.BAD_PARAMETER)));
    } else if (command.payload !== undefined) {
      this.#begin(command, command.payload, bytes);
    } else if (length > command.body[1]) {
      this.#reply(words(Result.BAD_PARAMETER));
    } else {
      this.#answer(command, new DataView(bytes.buffer, bytes.byteOffset + 4, length), NONE);
    }
  }

  #begin(command: ControlCommand, largest: number, bytes: Uint8Array): void {
    const [headerLength] = command.body;
    // A copy: the bytes belong to the socket.
    const header = new Uint8Array(bytes.subarray(4, 4 + headerLength));
    const body = new DataView(header.buffer);
    const remaining = body.getUint32(headerLength - 4);
    if (remaining > largest) {
      this.#reply(words(Result.BAD_PARAMETER));
      this.#options.end();
      return;
    }
    this.#pending = NONE;
    const incoming = { command, body, pieces: [], remaining, refused: this.#refuses(command) };
    this.#incoming = incoming;
    this.#takePayload(incoming, bytes.subarray(4 + headerLength));
  }

  #takePayload(incoming: Incoming, bytes: Uint8Array): void {
    if (bytes.length > incoming.remaining) {
      this.#incoming = undefined;
      this.#reply(words(Result.BAD_PARAMETER));
      return;
    }
    incoming.remaining -= bytes.length;
    if (!incoming.refused && bytes.length > 0) {
      if (incoming.command.feed === undefined) incoming.pieces.push(new Uint8Array(bytes));
      else incoming.command.feed(this.#options.host, bytes);
    }
    if (incoming.remaining > 0) return;
    this.#incoming = undefined;
    this.#answer(incoming.command, incoming.body, Buffer.concat(incoming.pieces));
  }

  #refuses({ state }: ControlCommand): boolean {
    return state !== undefined && (state === "running") !== this.#options.host.running;
  }

  #answer(command: ControlCommand, body: DataView, payload: Uint8Array): void {
    const { storage } = this.#options.surroundings;
    if (command.retries === undefined || storage === undefined || storage.held || this.#refuses(command)) {
      this.#reply(this.#replyTo(command, body, payload));
      return;
    }
    this.#waiting = true;
    // The bytes belong to the socket.
    const kept = new DataView(body.buffer.slice(body.byteOffset, body.byteOffset + body.byteLength));
    storage
      .lock({ retries: command.retries(body) })
      .then(
        () => this.#replyTo(command, kept, payload),
        (error: unknown) => this.#failed(command, error),
      )
      .then((reply) => {
        this.#waiting = false;
        if (!this.#closed) this.#reply(reply);
      });
  }

  #replyTo(command: ControlCommand, body: DataView, payload: Uint8Array): Uint8Array {
    const { host, surroundings } = this.#options;
    try {
      return this.#refuses(command)
        ? words(Result.BAD_ORDINAL)
        : command.answer(host, body, surroundings, payload);
    } catch (error) {
      return this.#failed(command, error);
    }
  }

  #failed(command: ControlCommand, error: unknown): Uint8Array {
    const { log } = this.#options;
    log?.(`control: ${command.name}: ${error instanceof Error ? error.message : String(error)}`);
    return words(Result.FAIL);
  }

  #reply(reply: Uint8Array): void {
    this.#pending = NONE;
    this.#options.send(reply);
  }

  #wait(late: () => void): void {
    this.#grace = setTimeout(late, GRACE);
    this.#grace.unref();
  }
}
