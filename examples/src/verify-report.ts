// Is this report of a confidential machine genuine, and good enough? node examples/dist/verify-report.js REPORT VCEK
import { readFileSync } from "node:fs";
import { judge, type SnpOptions, verifySnp } from "@entresol/attestation";

export async function verdictOn(report: Uint8Array, certificates: Uint8Array[], options: SnpOptions = {}) {
  const outcome = await verifySnp({ report, certificates }, options);
  const { verdict, failed, missing } = judge(outcome);
  return [verdict, ...[...failed, ...missing].map(({ id, detail }) => `${id}: ${detail}`)];
}

const [, program, ...paths] = process.argv;
if (program?.endsWith("verify-report.js")) {
  const [report = Buffer.alloc(0), ...certificates] = paths.map((path) => readFileSync(path));
  console.log((await verdictOn(report, certificates)).join("\n"));
}
