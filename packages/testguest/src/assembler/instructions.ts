import { type Form, parseForm } from "./forms.ts";
import { INTEGER_INSTRUCTIONS } from "./integer-instructions.ts";
import { SSE_INSTRUCTIONS } from "./sse-instructions.ts";
import { SYSTEM_INSTRUCTIONS } from "./system-instructions.ts";

const TABLE = { ...INTEGER_INSTRUCTIONS, ...SYSTEM_INSTRUCTIONS, ...SSE_INSTRUCTIONS };

/** Every instruction that the assembler knows. */
export type Mnemonic = keyof typeof TABLE;

export const MNEMONICS = Object.keys(TABLE) as readonly Mnemonic[];

/** mnemonic -> its forms, in the order in which they are tried. */
export const INSTRUCTIONS: Readonly<Record<Mnemonic, readonly Form[]>> = Object.fromEntries(
  MNEMONICS.map((mnemonic) => [mnemonic, TABLE[mnemonic].map(parseForm)]),
) as unknown as Record<Mnemonic, readonly Form[]>;
