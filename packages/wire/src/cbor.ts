import { Decoder, Encoder } from "cbor-x";
import { MalformedError } from "./malformed.ts";

// The same options both ways: plain maps, no record extension, byte strings untagged.
const options = {
  useRecords: false,
  tagUint8Array: false,
  variableMapSize: true,
  mapsAsObjects: true,
} as const;
const encoder = new Encoder(options);
const decoder = new Decoder(options);

function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered);
  if (value === null || typeof value !== "object" || ArrayBuffer.isView(value)) return value;
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  // RFC 8949 §4.2.1: keys in the order of their encoded bytes; for text keys that is length first, then bytes.
  entries.sort(([a], [b]) => a.length - b.length || (a < b ? -1 : a > b ? 1 : 0));
  return Object.fromEntries(entries.map(([key, item]) => [key, ordered(item)]));
}

/** Deterministic CBOR (RFC 8949 §4.2) of plain objects, arrays, byte arrays, strings, numbers, booleans and null. Keys must be ASCII. */
export function encodeCbor(value: unknown): Uint8Array {
  return new Uint8Array(encoder.encode(ordered(value)));
}

/** Decodes one CBOR item that fills `bytes`. Throws `MalformedError` `bad-value` for anything else. */
export function decodeCbor(bytes: Uint8Array): unknown {
  try {
    return decoder.decode(bytes);
  } catch (error) {
    throw new MalformedError(
      "bad-value",
      0,
      "RFC 8949",
      `not a CBOR item: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}
