import type { Handlers } from "../command.ts";
import { eccCommands } from "./ecc.ts";
import { randomCommands } from "./random.ts";
import { rsaCommands } from "./rsa-encryption.ts";
import { sequenceCommands } from "./sequence.ts";
import { symmetricCommands } from "./symmetric.ts";

/** Cryptography that the TPM does for its callers: by loaded keys, or without any (Part 3, clauses 14 to 17 and 19). */
export const cryptoServiceCommands = {
  ...randomCommands,
  ...rsaCommands,
  ...eccCommands,
  ...symmetricCommands,
  ...sequenceCommands,
} satisfies Handlers;
