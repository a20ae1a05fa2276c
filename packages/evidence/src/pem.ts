import { MalformedError } from "@entresol/wire";
import { decodeBase64, encodeBase64 } from "./base64.ts";
import type { ByteRange } from "./finding.ts";

/* PEM (RFC 7468), as certificate chains come inside of quotes. */

const spec = "RFC 7468";

export interface PemBlock extends ByteRange {
  /** For example "CERTIFICATE". */
  readonly label: string;
  /** What the block encodes. */
  readonly data: Uint8Array;
}

/** Intel's chains have three. */
export const MAXIMUM_PEM_BLOCKS = 64;

const BEGIN = "-----BEGIN ";
const END = "-----END ";
const DASHES = "-----";

const isSpace = (byte: number | undefined): boolean =>
  byte === 0x0a || byte === 0x0d || byte === 0x20 || byte === 0x09;

function startsWith(bytes: Uint8Array, text: string, at: number, end: number): boolean {
  if (text.length > end - at) return false;
  for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text.charCodeAt(i)) return false;
  return true;
}

/** Where `text` is next at a beginning of a line, or `end`. */
function findDashes(bytes: Uint8Array, at: number, end: number): number {
  for (let i = bytes.indexOf(0x2d, at); i !== -1 && i < end; i = bytes.indexOf(0x2d, i + 1))
    if (startsWith(bytes, DASHES, i, end)) return i;
  return end;
}

/**
 * The blocks of the text from `at` to `end`. Between and behind them may be white space, at the end zeros; anything else is refused,
 * so that nobody reads what another does not see. Throws MalformedError: `truncated` for a block that does not end, `bad-value`.
 */
export function parsePem(bytes: Uint8Array, at = 0, end = bytes.length): PemBlock[] {
  const blocks: PemBlock[] = [];
  let i = at;
  for (;;) {
    while (i < end && isSpace(bytes[i])) i++;
    if (i === end) return blocks;
    if (bytes[i] === 0) {
      while (i < end && bytes[i] === 0) i++;
      if (i === end) return blocks;
      throw new MalformedError("bad-value", i, spec, "something stands behind the zeros after a PEM block");
    }
    if (!startsWith(bytes, BEGIN, i, end))
      throw new MalformedError("bad-value", i, spec, "no PEM block begins here");
    if (blocks.length === MAXIMUM_PEM_BLOCKS)
      throw new MalformedError("bad-value", i, spec, `more than ${MAXIMUM_PEM_BLOCKS} PEM blocks`);
    const labelEnd = findDashes(bytes, i + BEGIN.length, end);
    let label = "";
    for (let k = i + BEGIN.length; k < labelEnd && label.length <= 64; k++) {
      // Printable: a label cannot hold a line end.
      if (bytes[k]! < 0x20 || bytes[k]! > 0x7e) break;
      label += String.fromCharCode(bytes[k]!);
    }
    if (i + BEGIN.length + label.length !== labelEnd)
      throw new MalformedError("bad-value", i, spec, "a PEM block whose label does not end");
    const from = labelEnd + DASHES.length;
    const to = findDashes(bytes, from, end);
    if (to === end) throw new MalformedError("truncated", i, spec, "a PEM block that does not end");
    const closing = `${END}${label}${DASHES}`;
    if (!startsWith(bytes, closing, to, end))
      throw new MalformedError("bad-value", to, spec, `not the end of ${label}`);
    const data = decodeBase64(bytes, "base64", spec, from, to);
    blocks.push({ label, data, offset: i, length: to + closing.length - i });
    i = to + closing.length;
  }
}

/** PEM of `data`, lines of 64 characters. */
export function encodePem(label: string, data: Uint8Array): string {
  const lines = encodeBase64(data, "base64").match(/.{1,64}/g) ?? [];
  return `${[`${BEGIN}${label}${DASHES}`, ...lines, `${END}${label}${DASHES}`].join("\n")}\n`;
}
