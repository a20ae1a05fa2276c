// Prints the table of results that the differential test leaves out, and why: the part of specs/cpu.md under
// "Differences that are explained". `npm run build` first.
import { explainedMarkdown } from "../dist/src/differential/explained.js";

process.stdout.write(explainedMarkdown());
