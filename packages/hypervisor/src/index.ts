export * from "./boundary.ts";
export { HypervisorError, type HypervisorErrorCode } from "./errors.ts";
export {
  ScriptedHypervisor,
  ScriptedPartition,
  ScriptedVcpu,
  type ScriptStep,
  type TraceEntry,
} from "./scripted.ts";
