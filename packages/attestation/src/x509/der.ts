import { MalformedError } from "@entresol/wire";

/** Tags of DER values (X.690, 8.1.2), constructed bit included. */
export const Tag = {
  BOOLEAN: 0x01,
  INTEGER: 0x02,
  BIT_STRING: 0x03,
  OCTET_STRING: 0x04,
  NULL: 0x05,
  OBJECT_IDENTIFIER: 0x06,
  ENUMERATED: 0x0a,
  UTF8_STRING: 0x0c,
  PRINTABLE_STRING: 0x13,
  IA5_STRING: 0x16,
  UTC_TIME: 0x17,
  GENERALIZED_TIME: 0x18,
  SEQUENCE: 0x30,
  SET: 0x31,
} as const;

/** Tag of a context-specific value, constructed unless said otherwise. */
export const context = (number: number, constructed = true): number =>
  0x80 | (constructed ? 0x20 : 0) | number;

const SPEC = "X.690, DER";

/**
 * Reads DER strictly, front to back: definite lengths in their shortest form, nothing past the end of the enclosing value. Views, no copies.
 * Offsets in errors count from the first byte of the outermost value, which is that of the file.
 */
export class DerReader {
  readonly bytes: Uint8Array;
  /** Next byte. */
  at: number;
  end: number;

  constructor(bytes: Uint8Array, at = 0, end = bytes.length) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  get more(): boolean {
    return this.at < this.end;
  }

  /** Tag of the next value, or 0 at the end. */
  peek(): number {
    return this.at < this.end ? (this.bytes[this.at] as number) : 0;
  }

  #wrong(code: "truncated" | "bad-value", at: number, message: string): never {
    throw new MalformedError(code, at, SPEC, message);
  }

  /** Length of the value's content; `at` moves to its first byte. */
  #header(tag: number): number {
    const start = this.at;
    if (start + 2 > this.end) this.#wrong("truncated", start, "a value is missing");
    const found = this.bytes[start] as number;
    if (found !== tag)
      this.#wrong("bad-value", start, `tag 0x${found.toString(16)}, 0x${tag.toString(16)} is expected`);
    const first = this.bytes[start + 1] as number;
    let length = first;
    let content = start + 2;
    if (first >= 0x80) {
      const count = first & 0x7f;
      if (count === 0 || count > 3)
        this.#wrong("bad-value", start + 1, "a length of indefinite or absurd form");
      if (content + count > this.end) this.#wrong("truncated", start + 1, "a length is cut");
      length = 0;
      for (let i = 0; i < count; i++) length = (length << 8) | (this.bytes[content + i] as number);
      if (length < 0x80 || length >>> (8 * (count - 1)) === 0)
        this.#wrong("bad-value", start + 1, "a length that is not in its shortest form");
      content += count;
    }
    if (length > this.end - content)
      this.#wrong("truncated", start, `needs ${length} bytes, ${this.end - content} left`);
    this.at = content;
    return length;
  }

  /** Content of the next value, which must have this tag. */
  value(tag: number): Uint8Array {
    const length = this.#header(tag);
    const content = this.bytes.subarray(this.at, this.at + length);
    this.at += length;
    return content;
  }

  /** A reader of the next value's content; this one goes on behind it. */
  enter(tag: number): DerReader {
    const length = this.#header(tag);
    const inner = new DerReader(this.bytes, this.at, this.at + length);
    this.at += length;
    return inner;
  }

  /** The same by a reader that is there already: `inner` reads the next value's content then. */
  enterInto(inner: DerReader, tag: number): void {
    const length = this.#header(tag);
    inner.at = this.at;
    this.at += length;
    inner.end = this.at;
  }

  /** The next value whole, header included, whatever its tag. */
  whole(): Uint8Array {
    const start = this.at;
    const length = this.#header(this.peek());
    this.at += length;
    return this.bytes.subarray(start, this.at);
  }

  /** Passes over the next value when it has this tag. */
  skip(tag: number): boolean {
    if (this.peek() !== tag) return false;
    this.whole();
    return true;
  }

  /** Goes behind the next value, which must have this tag, without a look at its content. */
  pass(tag: number): void {
    const length = this.#header(tag);
    this.at += length;
  }

  /** Is the next value an OBJECT IDENTIFIER with this content? Goes behind it. */
  isIdentifier(content: Uint8Array): boolean {
    const length = this.#header(Tag.OBJECT_IDENTIFIER);
    const from = this.at;
    this.at += length;
    if (length !== content.length) return false;
    for (let i = 0; i < length; i++) if (this.bytes[from + i] !== content[i]) return false;
    return true;
  }

  /** Number of the next OBJECT IDENTIFIER right below `arc` (its content), undefined for one from elsewhere. Goes behind it. */
  identifierBelow(arc: Uint8Array): number | undefined {
    const length = this.#header(Tag.OBJECT_IDENTIFIER);
    const from = this.at;
    this.at += length;
    if (length !== arc.length + 1) return undefined;
    for (let i = 0; i < arc.length; i++) if (this.bytes[from + i] !== arc[i]) return undefined;
    const last = this.bytes[this.at - 1] as number;
    return last < 0x80 ? last : undefined;
  }

  /** INTEGER that is not negative, big-endian without the sign byte; shortest form only. */
  unsigned(): Uint8Array {
    const first = this.unsignedFrom();
    return this.bytes.subarray(first, this.at);
  }

  /** The same: where its first byte is; it ends where the reader is then. */
  unsignedFrom(): number {
    const start = this.at;
    const length = this.#header(Tag.INTEGER);
    const from = this.at;
    this.at += length;
    const first = this.bytes[from] as number;
    if (length === 0) this.#wrong("bad-value", start, "an INTEGER without content");
    if (first & 0x80) this.#wrong("bad-value", start, "a negative INTEGER");
    if (first !== 0 || length === 1) return from;
    if (((this.bytes[from + 1] as number) & 0x80) === 0)
      this.#wrong("bad-value", start, "an INTEGER that is not in its shortest form");
    return from + 1;
  }

  /** INTEGER from 0 to 2^31 - 1. */
  smallInteger(tag: number = Tag.INTEGER): number {
    const start = this.at;
    if (tag !== Tag.INTEGER) {
      const content = this.value(tag);
      if (content.length !== 1 || (content[0] as number) > 0x7f)
        this.#wrong("bad-value", start, "an ENUMERATED out of range");
      return content[0] as number;
    }
    const from = this.unsignedFrom();
    const length = this.at - from;
    if (length > 4 || (length === 4 && (this.bytes[from] as number) > 0x7f))
      this.#wrong("bad-value", start, "an INTEGER out of range");
    let value = 0;
    for (let i = from; i < this.at; i++) value = value * 256 + (this.bytes[i] as number);
    return value;
  }

  boolean(): boolean {
    const start = this.at;
    const content = this.value(Tag.BOOLEAN);
    if (content.length !== 1 || (content[0] !== 0 && content[0] !== 0xff))
      this.#wrong("bad-value", start, "a BOOLEAN that is neither 00 nor ff");
    return content[0] === 0xff;
  }

  /** BIT STRING of whole bytes. */
  bits(): Uint8Array {
    const start = this.at;
    const content = this.value(Tag.BIT_STRING);
    if (content[0] !== 0) this.#wrong("bad-value", start, "a BIT STRING that is not of whole bytes");
    return content.subarray(1);
  }

  /** OBJECT IDENTIFIER in dots. */
  identifier(): string {
    const start = this.at;
    const content = this.value(Tag.OBJECT_IDENTIFIER);
    const text = dotted(content);
    if (text === undefined)
      this.#wrong("bad-value", start, "an OBJECT IDENTIFIER that is cut or not in its shortest form");
    return text;
  }

  /** UTCTime or GeneralizedTime as RFC 5280 allows them: Z, with seconds, no fraction. Milliseconds since 1970. */
  time(): number {
    const start = this.at;
    const short = this.peek() === Tag.UTC_TIME;
    const length = this.#header(short ? Tag.UTC_TIME : Tag.GENERALIZED_TIME);
    const digits = short ? 12 : 14;
    const { bytes } = this;
    const first = this.at;
    this.at += length;
    if (length !== digits + 1 || bytes[first + digits] !== 0x5a)
      this.#wrong("bad-value", start, "a time that is not of RFC 5280's form");
    for (let i = first; i < first + digits; i++)
      if ((bytes[i] as number) < 0x30 || (bytes[i] as number) > 0x39)
        this.#wrong("bad-value", start, "a time that is not of RFC 5280's form");
    const pair = (i: number): number =>
      10 * (bytes[first + i] as number) + (bytes[first + i + 1] as number) - 528;
    const rest = short ? 2 : 4;
    const year = short ? pair(0) + (pair(0) < 50 ? 2000 : 1900) : 100 * pair(0) + pair(2);
    const value = calendarTime(
      year,
      pair(rest),
      pair(rest + 2),
      pair(rest + 4),
      pair(rest + 6),
      pair(rest + 8),
    );
    if (value === undefined) this.#wrong("bad-value", start, "a time that no calendar has");
    return value;
  }

  /** Nothing may follow inside the enclosing value. */
  close(): void {
    if (this.at !== this.end)
      throw new MalformedError(
        "trailing-bytes",
        this.at,
        SPEC,
        `${this.end - this.at} bytes follow the last value`,
      );
  }
}

const monthDays = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** Milliseconds since 1970 in UTC, month from 1; undefined for a day or time that there is not. */
export function calendarTime(
  year: number,
  month: number,
  day: number,
  hour: number,
  minute: number,
  second: number,
): number | undefined {
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  const days = monthDays[month - 1];
  if (days === undefined || day < 1 || day > (month === 2 && leap ? 29 : days)) return undefined;
  // Years below 100 mean others to Date.UTC, and no evidence is that old.
  if (year < 1000 || hour > 23 || minute > 59 || second > 59) return undefined;
  return Date.UTC(year, month - 1, day, hour, minute, second);
}

/** Text of the identifiers below 2.5.29 (id-ce), which every certificate has. */
const certificateExtensions = Array.from({ length: 128 }, (_, last) => `2.5.29.${last}`);

function dotted(content: Uint8Array): string | undefined {
  if (content.length === 0 || content.length > 64 || ((content[content.length - 1] as number) & 0x80) !== 0)
    return undefined;
  if (content.length === 3 && content[0] === 0x55 && content[1] === 0x1d)
    return certificateExtensions[content[2] as number];
  const parts: number[] = [];
  let value = 0;
  let first = true;
  for (const byte of content) {
    if (first && byte === 0x80) return undefined;
    value = value * 128 + (byte & 0x7f);
    if (value > Number.MAX_SAFE_INTEGER) return undefined;
    first = (byte & 0x80) === 0;
    if (!first) continue;
    if (parts.length === 0) {
      const top = Math.min(2, Math.floor(value / 40));
      parts.push(top, value - 40 * top);
    } else parts.push(value);
    value = 0;
  }
  return parts.join(".");
}

/** A DER value read whole: nothing may follow it. */
export function readDer<T>(bytes: Uint8Array, read: (reader: DerReader) => T): T {
  const reader = new DerReader(bytes);
  const value = read(reader);
  reader.close();
  return value;
}

/**
 * R || S, each of `size` bytes, from a DER ECDSA-Sig-Value; undefined when the bytes are not exactly one, or a number does not fit.
 */
export function ecdsaSignature(der: Uint8Array, size: number): Uint8Array | undefined {
  try {
    return readDer(der, (reader) => {
      const pair = reader.enter(Tag.SEQUENCE);
      const signature = new Uint8Array(2 * size);
      for (const half of [0, 1]) {
        const number = pair.unsigned();
        if (number.length > size) return undefined;
        signature.set(number, half * size + size - number.length);
      }
      pair.close();
      return signature;
    });
  } catch (error) {
    if (error instanceof MalformedError) return undefined;
    throw error;
  }
}
