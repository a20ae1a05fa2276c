// A guest that asks the whole chipset at random: a million accesses for every owner on the bus, most of them to its own ranges. No
// exception, no storm, no alarm that stays due, and a machine restored in the middle goes on as the undisturbed one.
import { accessTargets, randomAccesses } from "../dist/testing/random-accesses.js";

const targets = accessTargets();
/** Accesses in one machine's life. */
const life = 2000;
const perTarget = 1_000_000;

export const description = `random accesses to ${targets.length} owners of ranges, restored in the middle of each life`;
export const defaultCount = targets.length * perTarget;

export async function* run({ seed, count, position }) {
  for (let done = position; done < count; done += life) {
    const round = done / life;
    const target = targets[round % targets.length];
    const messages = randomAccesses((Math.imul(seed, 1_000_003) + round) >>> 0, target, life);
    yield { position: Math.min(done + life, count), mismatches: messages.length, messages };
  }
}
