export { type ExecResult, GuestAgent } from "./agent.ts";
export { parseSize, type ResumeConfig, type VmConfig, VmError, type VmErrorCode } from "./config.ts";
export * from "./guest/index.ts";
export type { VmStatistics } from "./inspection.ts";
export { Vm } from "./machine.ts";
export type { DeviceFactory, Platform } from "./platform.ts";
export type { VmStop } from "./run-control.ts";
export * from "./serial/index.ts";
export { SerialPort } from "./serial-port.ts";
