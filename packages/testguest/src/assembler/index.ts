export { Assembler, type Instructions, instructionText, type Program } from "./assembler.ts";
export { type AssemblerCode, AssemblerError } from "./assembler-error.ts";
export type { Bits } from "./forms.ts";
export { MNEMONICS, type Mnemonic } from "./instructions.ts";
export * from "./operands.ts";
