/*
 * What waits on the host's side of a serial line: bytes that were typed while the guest does not listen yet. Bounded, so that
 * nobody can make the host hold any amount; whoever feeds it is told how much was accepted and keeps the rest.
 */

/** Characters that `push` accepts at most. */
export const receiveQueueLimit = 65536;
/** Room that only `unread` uses: a full receive FIFO can always be taken back. */
const reserve = 16;
const slots = 131072;
const mask = slots - 1;

/** A ring of characters: bits 7:0 the byte, bits 15:8 its line status errors. */
export class ReceiveQueue {
  readonly #ring = new Uint16Array(slots);
  #head = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** False when the queue is full. */
  push(character: number): boolean {
    if (this.#length >= receiveQueueLimit) return false;
    this.#ring[(this.#head + this.#length) & mask] = character;
    this.#length++;
    return true;
  }

  /** Puts a character back in front of all others. */
  unread(character: number): void {
    if (this.#length >= receiveQueueLimit + reserve) return;
    this.#head = (this.#head - 1) & mask;
    this.#ring[this.#head] = character;
    this.#length++;
  }

  /** The oldest character; 0 when there is none. */
  shift(): number {
    if (this.#length === 0) return 0;
    const character = this.#ring[this.#head]!;
    this.#head = (this.#head + 1) & mask;
    this.#length--;
    return character;
  }

  clear(): void {
    this.#head = 0;
    this.#length = 0;
  }

  /** Characters in order, two bytes each, low byte first. */
  save(): Uint8Array {
    const bytes = new Uint8Array(this.#length * 2);
    for (let index = 0; index < this.#length; index++) {
      const character = this.#ring[(this.#head + index) & mask]!;
      bytes[2 * index] = character & 0xff;
      bytes[2 * index + 1] = character >> 8;
    }
    return bytes;
  }

  /** Takes `save`'s bytes, at most `maximumSavedBytes` and an even number of them. */
  restore(bytes: Uint8Array): void {
    this.clear();
    for (let index = 0; index + 1 < bytes.length; index += 2) {
      this.#ring[index >> 1] = bytes[index]! | (bytes[index + 1]! << 8);
    }
    this.#length = bytes.length >> 1;
  }
}

export const maximumSavedBytes = 2 * (receiveQueueLimit + reserve);
