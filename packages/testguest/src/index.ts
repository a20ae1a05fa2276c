export * from "./assembler/index.ts";
export { type Check, type CheckGroup, DOCUMENTS } from "./checks/check.ts";
export { buildGuest, DEFAULT_LOAD_ADDRESS, type Guest, type GuestOptions } from "./guest.ts";
export { wrapMultiboot } from "./multiboot.ts";
export { GuestProgram, type Wanted } from "./runtime/guest-program.ts";
export { APIC, apicRead, apicWrite, LVT, outByte } from "./runtime/interrupt-controllers.ts";
export {
  catching,
  clearCount,
  counting,
  countOf,
  equalCount,
  letInterruptsIn,
  SELECTOR,
  setAction,
  VECTOR,
} from "./runtime/interrupts.ts";
export { type SandboxPage, sandboxAddress, sandboxEntry } from "./runtime/paging.ts";
export { waitFor, waitMicroseconds } from "./runtime/time.ts";
export { enterUser, USER_CODE } from "./runtime/user-mode.ts";
export {
  buildTestGuest,
  CHECK_GROUPS,
  type ListedCheck,
  listChecks,
  type TestGuestOptions,
} from "./test-guest.ts";
