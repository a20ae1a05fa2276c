export type { QtestAnswers } from "./qtest-channel.ts";
export { QtestError, type QtestErrorCode } from "./qtest-error.ts";
export { QtestMachine, type QtestMachineOptions } from "./qtest-machine.ts";
export type { AccessWidth, QtestOperation } from "./qtest-operation.ts";
