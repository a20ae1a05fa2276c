import { MalformedError } from "@entresol/wire";

/* Base64 (RFC 4648), strict: no other characters, no bits that say nothing. */

const alphabets = {
  base64: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
  base64url: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
} as const;

export type Base64Alphabet = keyof typeof alphabets;

const INVALID = 64;
function values(alphabet: string): Uint8Array {
  const table = new Uint8Array(256).fill(INVALID);
  for (let i = 0; i < 64; i++) table[alphabet.charCodeAt(i)] = i;
  return table;
}
const tables = { base64: values(alphabets.base64), base64url: values(alphabets.base64url) };

const PAD = 0x3d;
const isLineSpace = (byte: number): boolean =>
  byte === 0x0a || byte === 0x0d || byte === 0x20 || byte === 0x09;

/**
 * The bytes that the text from `at` to `end` encodes. With `base64` the text is padded and may be broken into lines (as PEM is); with
 * `base64url` it is neither (RFC 7515, 2). Throws MalformedError `bad-value`.
 */
export function decodeBase64(
  text: Uint8Array,
  alphabet: Base64Alphabet,
  spec: string,
  at = 0,
  end = text.length,
): Uint8Array {
  const table = tables[alphabet];
  const lines = alphabet === "base64";
  const bytes = new Uint8Array(Math.ceil(((end - at) * 3) / 4));
  let length = 0;
  let bits = 0;
  let held = 0;
  let digits = 0;
  let pads = 0;
  const wrong = (offset: number, message: string) => new MalformedError("bad-value", offset, spec, message);
  let i = at;
  for (; i < end; i++) {
    // Four digits that make three bytes, as nearly all do.
    if (bits === 0 && pads === 0) {
      while (i + 4 <= end) {
        const a = table[text[i]!]!;
        const b = table[text[i + 1]!]!;
        const c = table[text[i + 2]!]!;
        const d = table[text[i + 3]!]!;
        if ((a | b | c | d) >= INVALID) break;
        bytes[length] = (a << 2) | (b >> 4);
        bytes[length + 1] = (b << 4) | (c >> 2);
        bytes[length + 2] = (c << 6) | d;
        length += 3;
        digits += 4;
        i += 4;
      }
      if (i === end) break;
    }
    const byte = text[i]!;
    const value = table[byte]!;
    if (value !== INVALID) {
      if (pads > 0) throw wrong(i, "base64 goes on behind its padding");
      digits++;
      held = ((held << 6) | value) & 0xffff;
      bits += 6;
      if (bits >= 8) {
        bits -= 8;
        bytes[length++] = held >> bits;
      }
    } else if (lines && byte === PAD) pads++;
    else if (!lines || !isLineSpace(byte)) throw wrong(i, `0x${byte.toString(16)} is no ${alphabet}`);
  }
  if (digits % 4 === 1 || (held & ((1 << bits) - 1)) !== 0)
    throw wrong(end, "base64 ends in the middle of a byte");
  if (lines && pads !== (4 - (digits % 4)) % 4) throw wrong(end, "base64 has the wrong padding");
  return length === bytes.length ? bytes : bytes.subarray(0, length);
}

/** The text of `bytes`, padded for `base64`, not for `base64url`. */
export function encodeBase64(bytes: Uint8Array, alphabet: Base64Alphabet): string {
  const letters = alphabets[alphabet];
  let text = "";
  const whole = bytes.length - (bytes.length % 3);
  for (let i = 0; i < whole; i += 3) {
    const word = (bytes[i]! << 16) | (bytes[i + 1]! << 8) | bytes[i + 2]!;
    text +=
      letters[word >> 18]! + letters[(word >> 12) & 63]! + letters[(word >> 6) & 63]! + letters[word & 63]!;
  }
  for (let i = whole; i < bytes.length; i += 3) {
    const left = bytes.length - i;
    const word = (bytes[i]! << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    text += letters[word >> 18]! + letters[(word >> 12) & 63]!;
    if (left > 1) text += letters[(word >> 6) & 63]!;
    if (left > 2) text += letters[word & 63]!;
    if (left < 3 && alphabet === "base64") text += "=".repeat(3 - left);
  }
  return text;
}
