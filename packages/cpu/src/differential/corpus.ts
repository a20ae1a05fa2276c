import { gunzipSync, gzipSync } from "node:zlib";
import { BACKGROUND_VERSION, background } from "./background.ts";
import { Random } from "./random.ts";
import { R_SIZE } from "./record.ts";

/**
 * Recorded cases: what the generator made and what a real processor did with it, for machines without a compiler.
 *
 * gzip of: "ECDC", u16 version, u16 BACKGROUND_VERSION, u32 check of background(), 12 bytes of vendor, u32 count; then per
 * case u32 seed, u32 index of the background, the words of the input that differ from the background, and the words
 * of the outcome that differ from the input. A list of words: u16 count, then per word u8 distance from the word before
 * (255 = add 255 and read on) and u32 value.
 */
const VERSION = 1;
const WORDS = R_SIZE / 4;

export interface RecordedCase {
  readonly seed: number;
  readonly index: number;
  readonly input: DataView;
  readonly outcome: DataView;
}

export interface Corpus {
  readonly vendor: string;
  readonly cases: readonly RecordedCase[];
}

export class CorpusError extends Error {
  override name = "CorpusError";
}

export function encodeCorpus(corpus: Corpus): Uint8Array {
  const writer = new ByteWriter();
  for (const letter of "ECDC") writer.u8(letter.charCodeAt(0));
  writer.u16(VERSION);
  writer.u16(BACKGROUND_VERSION);
  writer.u32(backgroundCheck());
  for (let i = 0; i < 12; i++) writer.u8(corpus.vendor.charCodeAt(i));
  writer.u32(corpus.cases.length);
  const base = new DataView(new ArrayBuffer(R_SIZE));
  const random = new Random(0);
  for (const { seed, index, input, outcome } of corpus.cases) {
    writer.u32(seed);
    writer.u32(index);
    random.reseed(seed, index);
    background(random, base);
    writeDifference(writer, base, input);
    writeDifference(writer, input, outcome);
  }
  return gzipSync(writer.bytes(), { level: 9 });
}

/** Throws CorpusError when the bytes are damaged or were recorded from another background(). */
export function decodeCorpus(packed: Uint8Array): Corpus {
  let bytes: Buffer;
  try {
    bytes = gunzipSync(packed);
  } catch (cause) {
    throw new CorpusError("the corpus is not a gzip file", { cause });
  }
  const reader = new ByteReader(bytes);
  if (
    String.fromCharCode(reader.u8(), reader.u8(), reader.u8(), reader.u8()) !== "ECDC" ||
    reader.u16() !== VERSION
  ) {
    throw new CorpusError("not a corpus of this version");
  }
  if (reader.u16() !== BACKGROUND_VERSION || reader.u32() !== backgroundCheck()) {
    throw new CorpusError(
      "the corpus was recorded from another background(): raise BACKGROUND_VERSION and record it again",
    );
  }
  let vendor = "";
  for (let i = 0; i < 12; i++) vendor += String.fromCharCode(reader.u8());
  const count = reader.u32();
  const random = new Random(0);
  const cases: RecordedCase[] = [];
  for (let i = 0; i < count; i++) {
    const seed = reader.u32();
    const index = reader.u32();
    const input = new DataView(new ArrayBuffer(R_SIZE));
    random.reseed(seed, index);
    background(random, input);
    applyDifference(reader, input);
    const outcome = new DataView(input.buffer.slice(0));
    applyDifference(reader, outcome);
    cases.push({ seed, index, input, outcome });
  }
  return { vendor, cases };
}

/** Changes when background() does, so that a corpus never silently means other cases. */
function backgroundCheck(): number {
  const random = new Random(0);
  const record = new DataView(new ArrayBuffer(R_SIZE));
  let hash = 0x811c9dc5;
  for (let i = 0; i < 16; i++) {
    random.reseed(12345, i);
    background(random, record);
    for (let word = 0; word < WORDS; word++)
      hash = Math.imul(hash ^ record.getInt32(4 * word, true), 0x01000193);
  }
  return hash >>> 0;
}

function writeDifference(writer: ByteWriter, from: DataView, to: DataView): void {
  const changed: number[] = [];
  for (let word = 0; word < WORDS; word++) {
    if (from.getInt32(4 * word, true) !== to.getInt32(4 * word, true)) changed.push(word);
  }
  writer.u16(changed.length);
  let last = 0;
  for (const word of changed) {
    let distance = word - last;
    for (; distance >= 255; distance -= 255) writer.u8(255);
    writer.u8(distance);
    writer.u32(to.getUint32(4 * word, true));
    last = word;
  }
}

function applyDifference(reader: ByteReader, record: DataView): void {
  let word = 0;
  for (let count = reader.u16(); count > 0; count--) {
    let distance = reader.u8();
    word += distance;
    while (distance === 255) {
      distance = reader.u8();
      word += distance;
    }
    if (word >= WORDS) throw new CorpusError("a word outside the record");
    record.setUint32(4 * word, reader.u32(), true);
  }
}

class ByteWriter {
  #bytes = new Uint8Array(1 << 16);
  #length = 0;

  u8(value: number): void {
    if (this.#length === this.#bytes.length) {
      const larger = new Uint8Array(2 * this.#length);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes[this.#length++] = value;
  }

  u16(value: number): void {
    this.u8(value & 0xff);
    this.u8(value >> 8);
  }

  u32(value: number): void {
    this.u16(value & 0xffff);
    this.u16(value >>> 16);
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}

class ByteReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  u8(): number {
    const value = this.#bytes[this.#at++];
    if (value === undefined) throw new CorpusError("the corpus ends early");
    return value;
  }

  u16(): number {
    return this.u8() | (this.u8() << 8);
  }

  u32(): number {
    return (this.u16() | (this.u16() << 16)) >>> 0;
  }
}
