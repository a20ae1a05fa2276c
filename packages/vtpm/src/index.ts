export type { Authorization, SessionUse } from "./client/messages.ts";
export { type Answer, type RunOptions, TpmClient } from "./client/tpm-client.ts";
export { aes128Cfb, type SessionOptions, TpmSession } from "./client/tpm-session.ts";
export {
  type CommandRunner,
  connectTpm,
  inProcess,
  overExecutor,
  type TpmClientCode,
  TpmClientError,
  type TpmTransport,
} from "./client/transport.ts";
export { CAPABILITIES, type ControlCommand, controlCommands, Result } from "./control-commands.ts";
export { CrbDevice, type CrbState } from "./crb.ts";
export { crbBufferAt, crbBufferLength, crbRegisters, hashRegisters } from "./crb-registers.ts";
export type { ExecutorState, TpmExecutor } from "./executor.ts";
export { InlineExecutor } from "./inline-executor.ts";
export { type Inspection, inspect } from "./inspection.ts";
export type { InterfaceOptions } from "./interface-core.ts";
export { type InterfaceIdentity, tpmBase, tpmLength } from "./interface-registers.ts";
export { type KeySearcher, type KeySearchInProgress, searchOnThread } from "./key-search-thread.ts";
export type { ListeningPlace } from "./listening.ts";
export { MssimService, type MssimServiceOptions, simulatorCommands } from "./mssim-service.ts";
export {
  PhysicalPresence,
  type PresenceOperation,
  type PresenceState,
  presenceBase,
  presenceLength,
  presenceOperations,
  presenceRegisters,
} from "./physical-presence.ts";
export { DEFAULT_PROFILE, type ProfileName, profiles } from "./profiles.ts";
export { type ChannelPlace, SocketService, type SocketServiceOptions } from "./socket-service.ts";
export { StateLock, StateLockError, type StateLockOptions } from "./state-lock.ts";
export { MemoryStore, type StateStore } from "./state-store.ts";
export { SvsmResult, SvsmVtpm, svsmRequest, svsmVtpmQuery } from "./svsm-protocol.ts";
export { ThreadExecutor } from "./thread-executor.ts";
export { TisDevice, type TisOptions, type TisState } from "./tis.ts";
export { tisBufferLength, tisRegisters } from "./tis-registers.ts";
export { BUFFER_LIMITS, type HostOptions, TpmHost } from "./tpm-host.ts";

/** Provisioning: templates, certificates, setup. Loaded when it is asked for, as X.509 takes libraries that nothing else here needs. */
export const loadProvisioning = () => import("./provisioning/index.ts");
export type * from "./provisioning/index.ts";
