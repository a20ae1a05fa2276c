export {
  type CborItem,
  type CborKey,
  type CborMap,
  type CborReadOptions,
  CborTag,
  readCbor,
  writeCbor,
} from "./cbor-item.ts";
export type {
  Comid,
  Corim,
  CorimDigest,
  CorimEnvironment,
  CorimMeasurement,
  CorimReference,
} from "./corim.ts";
export { readCorim } from "./read-corim.ts";
export {
  type ReferenceManifest,
  type ReferenceTee,
  type ReferenceValue,
  referenceValuesOf,
  referenceValuesOfIgvm,
  withReferenceValues,
  writeReferenceValues,
} from "./reference-values.ts";
export { openSignedCorim, signCorim } from "./signed-corim.ts";
export { type ComidInput, type CorimInput, type CorimReferenceInput, writeCorim } from "./write-corim.ts";
