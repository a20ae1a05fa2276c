// node packages/cpu/differential/record-corpus.mjs [SEED]: runs generated cases on the processor of this machine and keeps some
// of each instruction form as corpus.bin.gz, for machines that cannot compile native.c. `npm run build` first.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { recordCorpus } from "../dist/src/differential/record-corpus.js";

const seed = Number(process.argv[2] ?? 1);
const { bytes, cases, forms, vendor } = await recordCorpus(seed);
writeFileSync(join(import.meta.dirname, "corpus.bin.gz"), bytes);
console.log(`${cases} cases of ${forms} instruction forms, recorded on ${vendor}: ${bytes.length} bytes`);
