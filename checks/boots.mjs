// Cold boots of Debian 12 and 13 with 1 and 4 processors, several of each, and what each must show. Two runs of the same input
// must be the same run. node checks/boots.mjs [--rounds N] [--only debian12x1,...]
import { createHash } from "node:crypto";
import { boot, coldBoot, inParallel, kernelComplaints } from "./guest-runs.mjs";

const args = process.argv.slice(2);
const option = (name, fallback) => (args.includes(name) ? args[args.indexOf(name) + 1] : fallback);
const rounds = Number(option("--rounds", "10"));
const only = option("--only", undefined)?.split(",");
let passed = 0;
let failed = 0;

const check = (name, good, detail = "") => {
  if (good) passed++;
  else {
    failed++;
    console.log(`FAIL ${name} ${detail}`);
  }
};

const probe =
  "cat /proc/interrupts; nproc; cat /sys/devices/system/clocksource/clocksource0/current_clocksource; dmesg";

const combinations = ["debian12", "debian13"]
  .flatMap((guest) => [1, 4].map((cpus) => ({ guest, cpus, name: `${guest}x${cpus}` })))
  .filter(({ name }) => only === undefined || only.includes(name));
const runs = new Map(combinations.map(({ name }) => [name, []]));
await inParallel(
  combinations.flatMap(({ guest, cpus, name }) =>
    Array.from({ length: rounds }, (_, round) => async () => {
      const { status, report, reason } = await coldBoot([
        "--guest",
        guest,
        "--cpus",
        String(cpus),
        "--exec",
        probe,
      ]);
      const label = `${name} boot ${round + 1}`;
      if (report === undefined) {
        check(label, false, reason);
        return;
      }
      const text = report.exec.output ?? "";
      const faults = [];
      if (status !== 0 || !report.ok) faults.push(`status ${status} ${report.error ?? ""}`);
      if (!new RegExp(`^${cpus}$`, "m").test(text)) faults.push("nproc");
      for (const wanted of ["IO-APIC", "LOC:", "ttyS0"])
        if (!text.includes(wanted)) faults.push(`no ${wanted}`);
      if (cpus > 1)
        for (const line of ["RES", "CAL"])
          if (!new RegExp(`${line}:\\s+.*[1-9]`).test(text)) faults.push(`no ${line} counted`);
      // What stands before the kernel's log has rows of its own named after errors.
      const log = text.slice(text.indexOf("Linux version")).split("\n");
      faults.push(...log.filter((line) => kernelComplaints.some((complaint) => complaint.test(line))));
      check(label, faults.length === 0, faults.join("; "));
      runs.get(name).push(report);
    }),
  ),
);
for (const [name, reports] of runs) {
  if (reports.length === 0) continue;
  const seen = new Set(
    reports.map(
      ({ instructions, ramDigest, deviceDigest }) => `${instructions} ${ramDigest} ${deviceDigest}`,
    ),
  );
  check(
    `${name}: all runs are the same run`,
    seen.size === 1,
    `${seen.size} different ends: ${[...seen].map((s) => s.slice(0, 30)).join(", ")}`,
  );
  const cpu = reports.map(({ cpuSeconds }) => cpuSeconds).sort((a, b) => a - b);
  const memory = Math.max(...reports.map(({ residentBytes }) => residentBytes)) / 2 ** 20;
  console.log(
    `${name}: ${reports.length} boots, ${(reports[0].instructions / 1e6).toFixed(0)} M instructions, CPU time ${cpu[0].toFixed(2)} to ${cpu.at(-1).toFixed(2)} s, at most ${memory.toFixed(0)} MiB resident`,
  );
  check(`${name}: resident memory under 350 MiB`, memory < 350, `${memory.toFixed(0)} MiB`);
}

// A workload over 20 MB, whose results the host computes too.
const lines = Array.from({ length: 1_300_000 }, (_, i) => `${(i * 7919) % 1299709} entresol\n`).join("");
const sha = (bytes) => createHash("sha256").update(bytes).digest("hex");
const sum = Array.from({ length: 1_300_000 }, (_, i) => (i * 7919) % 1299709).reduce((a, b) => a + b, 0);
const sorted = Array.from({ length: 1_300_000 }, (_, i) => (i * 7919) % 1299709)
  .sort((a, b) => a - b)
  .map((n) => `${n} entresol\n`)
  .join("");
const workload = [
  "cd /tmp",
  "awk 'BEGIN { for (i = 0; i < 1300000; i++) print (i * 7919) % 1299709, \"entresol\" }' >a",
  "wc -c <a; sha256sum <a",
  "gzip -c a | gunzip -c | sha256sum; bzip2 -c a | bunzip2 -c | sha256sum",
  "sort -n a | sha256sum",
  "awk '{ s += $1 } END { printf \"%.0f\\n\", s }' a",
  "echo '2^521-1; scale=60; sqrt(2); e(1)' | bc -l",
].join("; ");
if (only === undefined) {
  const { status, output } = await boot(["--guest", "debian12", "--exec", workload]);
  const results = output
    .toString()
    .trim()
    .split("\n")
    .map((line) => line.replace(/ +-$/, ""));
  const bignum = (2n ** 521n - 1n).toString();
  check("workload: status", status === 0, String(status));
  check("workload: size", results[0] === String(lines.length), results[0]);
  check("workload: sha256sum", results[1] === sha(lines), results[1]);
  check("workload: gzip", results[2] === sha(lines), results[2]);
  check("workload: bzip2", results[3] === sha(lines), results[3]);
  check("workload: sort", results[4] === sha(sorted), results[4]);
  check("workload: awk", results[5] === String(sum), results[5]);
  const calculated = results.slice(6).join("\n").replace(/\\\n/g, "").split("\n");
  check("workload: bc integers", calculated[0] === bignum, calculated[0]);
  check(
    "workload: bc roots",
    calculated[1]?.startsWith("1.41421356237309504880168872420969807856967187537694"),
    calculated[1],
  );
  check(
    "workload: bc e",
    calculated[2]?.startsWith("2.718281828459045235360287471352662497757247093699959"),
    calculated[2],
  );
}
console.log(`${passed} passed, ${failed} failed, 0 skipped`);
process.exitCode = failed === 0 ? 0 : 1;
