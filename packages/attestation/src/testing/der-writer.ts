import { Tag } from "../x509/der.ts";

/* Writes DER for tests: what is well formed, and what is not. */

function length(bytes: number): number[] {
  if (bytes < 0x80) return [bytes];
  const digits: number[] = [];
  for (let rest = bytes; rest > 0; rest = Math.floor(rest / 256)) digits.unshift(rest & 0xff);
  return [0x80 | digits.length, ...digits];
}

/** A value of any tag. */
export function der(tag: number, ...content: readonly Uint8Array[]): Uint8Array {
  const size = content.reduce((sum, part) => sum + part.length, 0);
  const header = Uint8Array.of(tag, ...length(size));
  const bytes = new Uint8Array(header.length + size);
  bytes.set(header);
  let at = header.length;
  for (const part of content) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

export const sequence = (...content: readonly Uint8Array[]): Uint8Array => der(Tag.SEQUENCE, ...content);
export const set = (...content: readonly Uint8Array[]): Uint8Array => der(Tag.SET, ...content);
/** [number], constructed. */
export const explicit = (number: number, ...content: readonly Uint8Array[]): Uint8Array =>
  der(0xa0 | number, ...content);
export const octets = (bytes: Uint8Array): Uint8Array => der(Tag.OCTET_STRING, bytes);
export const bits = (bytes: Uint8Array, unused = 0): Uint8Array =>
  der(Tag.BIT_STRING, Uint8Array.of(unused), bytes);
export const boolean = (value: boolean): Uint8Array => der(Tag.BOOLEAN, Uint8Array.of(value ? 0xff : 0));
export const nothing = (): Uint8Array => der(Tag.NULL);
export const utf8 = (text: string): Uint8Array => der(Tag.UTF8_STRING, new TextEncoder().encode(text));
export const ia5 = (text: string): Uint8Array => der(Tag.IA5_STRING, new TextEncoder().encode(text));

/** An INTEGER that is not negative: a number, or big-endian bytes. */
export function integer(value: number | Uint8Array): Uint8Array {
  let digits = typeof value === "number" ? [] : [...value];
  if (typeof value === "number")
    for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) digits.unshift(rest & 0xff);
  while (digits.length > 1 && digits[0] === 0) digits = digits.slice(1);
  if (digits.length === 0) digits = [0];
  if ((digits[0] as number) & 0x80) digits.unshift(0);
  return der(Tag.INTEGER, Uint8Array.from(digits));
}

export function identifier(dotted: string): Uint8Array {
  const [first, second, ...rest] = dotted.split(".").map(Number) as [number, number, ...number[]];
  const content: number[] = [];
  for (const part of [first * 40 + second, ...rest]) {
    const digits = [part & 0x7f];
    for (let high = Math.floor(part / 128); high > 0; high = Math.floor(high / 128))
      digits.unshift(0x80 | (high & 0x7f));
    content.push(...digits);
  }
  return der(Tag.OBJECT_IDENTIFIER, Uint8Array.from(content));
}

/** UTCTime until 2049, GeneralizedTime from then on (RFC 5280, 4.1.2.5). */
export function time(at: Date | string): Uint8Array {
  const text = new Date(at).toISOString().replace(/[-:T]|\.\d+/g, "");
  const year = Number(text.slice(0, 4));
  const ascii = (value: string) => new TextEncoder().encode(value);
  return year >= 1950 && year < 2050
    ? der(Tag.UTC_TIME, ascii(text.slice(2)))
    : der(Tag.GENERALIZED_TIME, ascii(text));
}
