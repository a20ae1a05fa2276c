export * as layout from "../assembly/layout.ts";
export { Processor, type ProcessorHost, type ProcessorOptions, type StopReason } from "./processor.ts";
