export { decodeCbor, encodeCbor } from "./cbor.ts";
export { crc32 } from "./crc32.ts";
export { hex, toHex } from "./hex.ts";
export { EntresolError, type MalformedCode, MalformedError } from "./malformed.ts";
export { Reader } from "./reader.ts";
export { Writer } from "./writer.ts";
