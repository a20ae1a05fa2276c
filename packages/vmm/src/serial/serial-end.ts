import { EntresolError } from "@entresol/wire";

/** Why an end cannot be had. */
export type SerialEndErrorCode = "unavailable" | "address-in-use" | "cannot-open";

/** Thrown when an end cannot be made; the message names it. */
export class SerialEndError extends EntresolError<SerialEndErrorCode> {
  override readonly name = "SerialEndError";
}

/**
 * The host's end of a serial line. It takes output when it can and says so; what it cannot take is the business of the port's policy,
 * so an end never holds more than the one piece that it is writing. It serves one peer at a time: who comes later takes the place of
 * who was there, so that a connection that has died without a word cannot keep its successor out.
 */
export interface SerialEnd {
  /** For people: "file console.log", "pty /dev/pts/4". */
  readonly description: string;
  /** Somebody is there. Without anybody output is kept for who comes, as far as there is room. */
  readonly connected: boolean;
  /** `write` may be called. */
  readonly writable: boolean;
  /** Bytes that were taken and then lost: with a connection, or to a disk that is full. */
  readonly lost: number;
  /** Takes output, in order. The bytes are the end's from now on. */
  write(bytes: Uint8Array): void;
  /** Asks for no more input, or for input again. */
  pauseInput(paused: boolean): void;
  /** Ends for good, with what was taken written if that is possible soon. Never rejects. */
  close(): Promise<void>;
  /** Set by who uses the end. The state of `connected` or `writable` may have changed. */
  onChange: (() => void) | undefined;
  /** Input came. The bytes are the callee's. */
  onInput: ((bytes: Uint8Array) => void) | undefined;
  /** One line about something that went wrong, or who came and went. */
  onNews: ((text: string) => void) | undefined;
}

/** An end that throws output away and never sends anything. */
export class NullEnd implements SerialEnd {
  readonly description: string = "null";
  readonly connected: boolean = true;
  readonly writable: boolean = true;
  readonly lost: number = 0;
  onChange: (() => void) | undefined;
  onInput: ((bytes: Uint8Array) => void) | undefined;
  onNews: ((text: string) => void) | undefined;

  write(): void {}

  pauseInput(): void {}

  async close(): Promise<void> {}
}
