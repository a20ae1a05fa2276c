import { Rc, St } from "@entresol/tpm-types";

/** A TPM command as it came. `locality` is said by the prefix of the TCG's simulator protocol, which then frames the response as well. */
export interface IncomingCommand {
  readonly bytes: Uint8Array;
  readonly prefixed: boolean;
  readonly locality: number | undefined;
}

const HEADER = 10;
/** TPM_SEND_COMMAND, u8 locality, u32 length. */
const SEND_COMMAND = 8;
const PREFIX = 9;
const NONE = new Uint8Array(0);

/** Cuts a stream of bytes into TPM commands by the length in their headers (Part 1, 18.2), with or without swtpm's optional prefix. */
export class CommandStream {
  readonly #largest: number;
  #pending: Uint8Array = NONE;

  /** Commands that say that they are larger than `largest` bytes are not taken. */
  constructor(largest: number) {
    this.#largest = largest;
  }

  /** The next command; undefined: not all of it is there. A response code: the stream has lost its way, and is to be closed. */
  next(): IncomingCommand | number | undefined {
    const bytes = this.#pending;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length < 6) return undefined;
    const tag = view.getUint16(0);
    const prefixed = tag !== St.NO_SESSIONS && tag !== St.SESSIONS && view.getUint32(0) === SEND_COMMAND;
    if (prefixed && bytes.length < PREFIX) return undefined;
    const start = prefixed ? PREFIX : 0;
    const length = prefixed ? view.getUint32(5) : view.getUint32(2);
    if (length > this.#largest || (!prefixed && length < HEADER)) return Rc.COMMAND_SIZE;
    if (bytes.length < start + length) return undefined;
    this.#pending = bytes.subarray(start + length);
    return {
      bytes: bytes.subarray(start, start + length),
      prefixed,
      locality: prefixed ? bytes[4] : undefined,
    };
  }

  push(bytes: Uint8Array): void {
    this.#pending = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
  }
}

/** The response in the frame of a prefixed command: its length before, an acknowledgement of 0 behind. */
export function framedResponse(response: Uint8Array): Uint8Array {
  const framed = new Uint8Array(4 + response.length + 4);
  new DataView(framed.buffer).setUint32(0, response.length);
  framed.set(response, 4);
  return framed;
}
