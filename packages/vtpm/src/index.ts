export { CAPABILITIES, type ControlCommand, controlCommands, Result } from "./control-commands.ts";
export { type Inspection, inspect } from "./inspection.ts";
export type { ListeningPlace } from "./listening.ts";
export { MssimService, type MssimServiceOptions, simulatorCommands } from "./mssim-service.ts";
export { type ChannelPlace, SocketService, type SocketServiceOptions } from "./socket-service.ts";
export { MemoryStore, type StateStore } from "./state-store.ts";
export { SvsmResult, SvsmVtpm, svsmRequest, svsmVtpmQuery } from "./svsm-protocol.ts";
export { BUFFER_LIMITS, type HostOptions, TpmHost } from "./tpm-host.ts";
