export { nodeProvider } from "./crypto/node-provider.ts";
export type { CryptoProvider, RsaPrivate, RunningHash } from "./crypto/provider.ts";
export { implementedCommands } from "./dispatch.ts";
export { defaultLimits, type Identity, type Limits, type TimeSource } from "./engine.ts";
export { type EpochAnchor, FileNvStore, type FileNvStoreOptions } from "./file-store.ts";
export { type KeySearch, searchKey } from "./key-search.ts";
export {
  decodePermanent,
  decodeRunning,
  encodePermanent,
  encodeRunning,
  type RunningState,
  type TpmStateCode,
  TpmStateError,
} from "./saved-state.ts";
export { openState, StateKey, StateKind, sealState } from "./sealed-state.ts";
export { SINGLE_FILE_SIZE, SingleFile } from "./single-file.ts";
export type * from "./state.ts";
export type { StoreFiles } from "./store-files.ts";
export { type NvStore, Tpm, type TpmOptions } from "./tpm.ts";
