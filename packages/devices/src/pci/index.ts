export type { BarKind, BarOptions } from "./bar.ts";
export { PciBridge, PciBus } from "./bridge.ts";
export {
  type Capability,
  powerCapability,
  subsystemCapability,
  vendorCapability,
} from "./capabilities.ts";
export { type ConfigRegister, ConfigSpace, configLines } from "./config-space.ts";
export { endpointExpress } from "./express.ts";
export { type DmaMemory, PciFunction, type PciFunctionOptions, type PciFunctionState } from "./function.ts";
export { PciHost, type PciHostOptions, type PciPlace, type PciState } from "./host.ts";
export { IsaBridge, pirqRegisters, routableInputs } from "./isa-bridge.ts";
export { type AddressWindow, highWindow, pciDevices, pciLayout, pirqOf, swizzle } from "./layout.ts";
export { MsiCapability, MsixCapability, type MsixOptions } from "./messages.ts";
export { RootPort, type RootPortOptions } from "./root-port.ts";
export { TestFunction, type TestFunctionOptions, testFunctionIdentity } from "./test-function.ts";
export { testFunctionRegisters } from "./test-function-registers.ts";
