// Property tests draw the same cases in every run, so that a failure is the change's own; fresh cases come from the campaign
// "properties", which sets the seed.
import { configureGlobal } from "fast-check";

const runs = process.env.ENTRESOL_PROPERTY_RUNS;

configureGlobal({
  seed: Number(process.env.ENTRESOL_PROPERTY_SEED ?? 1),
  ...(runs === undefined ? {} : { numRuns: Number(runs) }),
});
