export * from "./assembler/index.ts";
export type { Check, CheckGroup } from "./checks/check.ts";
export {
  buildTestGuest,
  CHECK_GROUPS,
  DEFAULT_LOAD_ADDRESS,
  type TestGuest,
  type TestGuestOptions,
} from "./test-guest.ts";
