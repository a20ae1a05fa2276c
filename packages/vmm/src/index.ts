export { type ExecResult, GuestAgent } from "./agent.ts";
export { parseSize, type ResumeConfig, type VmConfig, VmError, type VmErrorCode } from "./config.ts";
export * from "./guest/index.ts";
export { Vm, type VmStatistics, type VmStop } from "./machine.ts";
export type { DeviceFactory, Platform } from "./platform.ts";
export { SerialPort } from "./serial-port.ts";
