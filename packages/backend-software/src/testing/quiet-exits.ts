import type { ExitHandler } from "@entresol/hypervisor";

/** For tests: a layer above that has no devices, no MSRs and no interrupts. Spread it and put in what a test is about. */
export const quietExits: ExitHandler = {
  portIn: () => 0xff,
  portOut: () => {},
  mmioRead: () => 0,
  mmioWrite: () => {},
  cpuid: () => {},
  readMsr: () => false,
  writeMsr: () => false,
  readTaskPriority: () => 0,
  writeTaskPriority: () => {},
  hypercall: () => false,
  interruptReady: () => false,
  acknowledgeInterrupt: () => 0,
};
