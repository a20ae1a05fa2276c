// A guest that asks the registers of a TPM at random, CRB and FIFO, with the engine behind and with a TPM that takes its time. No exception, no
// value wider than its access, and an interface that was restored in the middle of a life goes on as the undisturbed one.
import { randomRegisters } from "../dist/testing/random-registers.js";

export const description = "random accesses to a TPM's registers, restored in the middle of each life";
export const defaultCount = 1_000_000;

/** Steps in one machine's life: an access, or a command given as a driver does, with many. */
const life = 500;

export async function* run({ seed, count, position }) {
  for (let done = position; done < count; done += life) {
    const messages = randomRegisters((Math.imul(seed, 1_000_003) + done / life) >>> 0, life);
    yield { position: Math.min(done + life, count), mismatches: messages.length, messages };
  }
}
