import { decodeBase64, parsePem } from "@entresol/evidence";
import { MalformedError } from "@entresol/wire";

/* How people pass bytes on: as they are, as hexadecimal, as base64, as PEM. */

export type TextForm = "binary" | "hex" | "base64" | "pem";

/** Bytes without their text form. */
export interface Plain {
  readonly form: TextForm;
  /** One for all forms but PEM, which has one for each block. */
  readonly blocks: readonly { readonly label: string | undefined; readonly data: Uint8Array }[];
}

const isSpace = (byte: number): boolean => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
const isHexDigit = (byte: number): boolean =>
  (byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x46) || (byte >= 0x61 && byte <= 0x66);

function isText(bytes: Uint8Array): boolean {
  return bytes.every((byte) => isSpace(byte) || (byte >= 0x21 && byte <= 0x7e));
}

/** Hexadecimal digits, in pairs that may be apart and may begin with 0x: undefined when the text is something else. */
function fromHexText(text: Uint8Array): Uint8Array | undefined {
  let from = 0;
  while (from < text.length && isSpace(text[from] as number)) from++;
  if (text[from] === 0x30 && ((text[from + 1] ?? 0) | 0x20) === 0x78) from += 2;
  const bytes = new Uint8Array(Math.ceil((text.length - from) / 2));
  let digits = 0;
  for (let i = from; i < text.length; i++) {
    const letter = text[i] as number;
    if (isHexDigit(letter)) {
      const digit = (letter & 0x0f) + (letter > 0x39 ? 9 : 0);
      const at = digits >> 1;
      bytes[at] = ((bytes[at] as number) << 4) | digit;
      digits++;
    } else if (!isSpace(letter) && letter !== COLON) return undefined;
  }
  return digits === 0 || digits % 2 !== 0 ? undefined : bytes.slice(0, digits / 2);
}
const COLON = 0x3a;

function fromBase64Text(bytes: Uint8Array): Uint8Array | undefined {
  try {
    return decodeBase64(bytes, "base64", "RFC 4648, 4");
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
  }
  try {
    return decodeBase64(
      bytes.filter((byte) => !isSpace(byte) && byte !== 0x3d),
      "base64url",
      "RFC 4648, 5",
    );
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    return undefined;
  }
}

const startsWith = (bytes: Uint8Array, text: string): boolean =>
  bytes.length >= text.length && Array.from(text).every((letter, i) => bytes[i] === letter.charCodeAt(0));

/**
 * Takes off the text form. Evidence has bytes that no text has, so that the guess is safe; what is neither PEM nor all hexadecimal nor all
 * base64 is taken as it is. Throws `MalformedError` for PEM that is broken.
 */
export function plainBytes(bytes: Uint8Array): Plain {
  const raw: Plain = { form: "binary", blocks: [{ label: undefined, data: bytes }] };
  if (startsWith(bytes, "-----BEGIN "))
    return { form: "pem", blocks: parsePem(bytes).map(({ label, data }) => ({ label, data })) };
  if (bytes.length < 4 || !isText(bytes)) return raw;
  const hex = fromHexText(bytes);
  if (hex !== undefined) return { form: "hex", blocks: [{ label: undefined, data: hex }] };
  const base64 = fromBase64Text(bytes);
  if (base64 !== undefined && base64.length > 0)
    return { form: "base64", blocks: [{ label: undefined, data: base64 }] };
  return raw;
}
