// Runs of `entresol boot` that the boot checks share.
import { spawn } from "node:child_process";
import { resolve } from "node:path";

const command = resolve(import.meta.dirname, "../packages/vmm/bin/entresol.js");

/** Runs `entresol boot` with these options and gives its exit status, output (a Buffer) and errors (text). */
export function boot(options) {
  return new Promise((done) => {
    const child = spawn(process.execPath, [command, "boot", ...options], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    const chunks = { out: [], err: [] };
    child.stdout.on("data", (chunk) => chunks.out.push(chunk));
    child.stderr.on("data", (chunk) => chunks.err.push(chunk));
    child.on("exit", (status) =>
      done({ status, output: Buffer.concat(chunks.out), errors: Buffer.concat(chunks.err).toString() }),
    );
  });
}

/** Cold boot with `--json`: what the command reports, or the reason why there is no report. */
export async function coldBoot(options) {
  const { status, output, errors } = await boot(["--cold", "--json", ...options]);
  try {
    return { status, report: JSON.parse(output.toString()) };
  } catch {
    return { status, report: undefined, reason: `status ${status}, no JSON: ${errors}` };
  }
}

/** At most `workers` tasks at a time: as many as there are cores. */
export async function inParallel(tasks, workers = 2) {
  const queue = [...tasks];
  const worker = async () => {
    for (let task = queue.shift(); task !== undefined; task = queue.shift()) await task();
  };
  await Promise.all(Array.from({ length: workers }, worker));
}

/** What no boot may say in its kernel log. */
export const kernelComplaints = [
  /tsc: .*(unstable|marking)/i,
  /clocksource.*(unstable|skew)/i,
  /APIC.*(error|bug|timeout)/i,
  /timer.*(doesn't work|broken)/i,
  /BUG:|WARNING: CPU|Call Trace|unchecked MSR|not responding|lockup|stall/i,
  /spurious|nobody cared|lost (interrupt|\d+ .*interrupt)|hpet_rtc/i,
  /ACPI.*(warning|error|exception|bios bug)|firmware bug|bios bug/i,
  /PCI: Fatal|not using MMCONFIG|could not be reserved|can't (claim|assign|reserve|find)|no compatible bridge window|address conflict|failed to assign/i,
];
