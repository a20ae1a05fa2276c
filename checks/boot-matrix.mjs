// Debian boots with each of the kernel parameters that take a part of the chipset away or insist on another, with 1 and 4
// processors: to the prompt, on the interrupt controller and clock that the parameter asks for, without a complaint in the kernel's
// log, and with clocks and ticks that agree with guest time under load.
// node checks/boot-matrix.mjs [--guest debian12,debian13] [--only "noapic,acpi=off"] [--cpus 1,4] [--verbose]
import { coldBoot, inParallel, kernelComplaints } from "./guest-runs.mjs";

const args = process.argv.slice(2);
const list = (name, fallback) => (args.includes(name) ? args[args.indexOf(name) + 1].split(",") : fallback);
const guests = list("--guest", ["debian12"]);
const only = list("--only", undefined);
const counts = list("--cpus", ["1", "4"]).map(Number);
const verbose = args.includes("--verbose");

const base = "console=ttyS0 panic=-1 cryptomgr.notests";
/** Debian's kernels know processors from ACPI only, and without local APIC no second one can be started. */
const single = true;
/**
 * Debian 12's kernel sets message interrupts up without asking whether there is a local APIC to send them to, warns about itself
 * and goes on with INTx: on any machine with a PCI Express port.
 */
const trace = /drivers\/pci\/msi\/msi\.h|arch_setup_msi_irqs/;
/**
 * parameter: what is added to the command line. controller: who delivers ttyS0's interrupt. clock: the clocksource at the end.
 * tick: the row of /proc/interrupts that counts timer ticks. idle: guest seconds without load, if not the usual. single: one
 * processor, whatever the machine has. allowed: complaints that the parameter itself brings. trace: call traces that it brings.
 */
const rows = [
  { parameter: "" },
  { parameter: "noapic", controller: "XT-PIC" },
  { parameter: "nolapic", controller: "XT-PIC", tick: "0", single, trace },
  {
    parameter: "acpi=off",
    controller: "XT-PIC",
    tick: "0",
    single,
    trace,
    allowed: /MPS support code is not built-in|not listed by the BIOS/,
  },
  { parameter: "nox2apic" },
  { parameter: "hpet=force" },
  { parameter: "hpet=disable" },
  { parameter: "clocksource=hpet", clock: "hpet" },
  { parameter: "clocksource=acpi_pm", clock: "acpi_pm" },
  { parameter: "tsc=unstable", clock: "hpet", allowed: /Marking TSC unstable due to boot parameter/ },
  { parameter: "notsc hpet=disable", clock: "acpi_pm", allowed: /Marking TSC unstable due to|notsc/ },
  { parameter: "pci=nomsi" },
  {
    // The tables are read but not for interrupts; the host bridge's device keeps its windows from the PCI core then.
    parameter: "pci=noacpi",
    controller: "XT-PIC",
    tick: "0",
    single,
    trace,
    allowed: /MPS support code is not built-in|not listed by the BIOS|conflict with PNP0A08:00/,
  },
  { parameter: "pci=nommconf" },
  { parameter: "lapic=notscdeadline" },
  // Every processor ticks also when it has nothing to do, which costs.
  { parameter: "nohz=off highres=off", idle: 5 },
  // Without the second parameter several processors take the deadline timer all the same.
  { parameter: "noapictimer lapic=notscdeadline", tick: "0" },
].filter(({ parameter }) => only === undefined || only.includes(parameter || "none"));

/** Guest seconds without load, which cost nothing but the timers that fire in them. */
const usualIdle = 300;
const loadSeconds = 0.6;
/** Ticks per second and processor of Debian's kernels. */
const tickHertz = 250;
/** Guest time that is over before the kernel's own clock starts (it unpacks itself first), with room: seconds. */
const clockStart = { debian12: 0.2, debian13: 0.9 };

/*
 * The load: per processor a chain of pipes, sleepers of odd lengths and a job that never rests, so that timers, wake-ups and
 * interrupts between processors mix. Processor 0 is busy from the first count of its ticks to the second.
 */
const probe = (idle) => `
section() { echo "== $1"; }
section nproc; nproc
section clocksource; cat /sys/devices/system/clocksource/clocksource0/current_clocksource
for cpu in $(seq 0 $(($(nproc) - 1))); do
  ( for i in 1 2 3 4 5 6 7 8; do usleep $((1000 * i + 137)); echo $i | cat | cat >/dev/null; done ) &
  ( for i in 1 2 3 4; do taskset -c $cpu true; done ) &
done
section before; taskset 1 sh -c '
  now() { read -r time rest </proc/uptime; time=$((\${time%.*} * 100 + 1\${time#*.} - 100)); }
  cat /proc/uptime; cat /proc/interrupts
  now; end=$((time + ${100 * loadSeconds}))
  while [ $time -lt $end ]; do now; done
  echo "== after"; cat /proc/uptime; cat /proc/interrupts'
wait
sleep ${idle}
section interrupts; cat /proc/interrupts
section dmesg; dmesg
section uptime; cat /proc/uptime
`;

/** The probe's output by section. */
function sections(text) {
  const found = new Map();
  for (const part of text.split(/^== /m).slice(1)) {
    const end = part.indexOf("\n");
    found.set(part.slice(0, end), part.slice(end + 1).trim());
  }
  return found;
}

/** Counts of a row of /proc/interrupts, by processor. */
function countsOf(text, row) {
  const line = text.split("\n").find((candidate) => candidate.trim().startsWith(`${row}:`));
  return (
    line
      ?.split(":")[1]
      .match(/^[\s\d]+/)?.[0]
      .trim()
      .split(/\s+/) ?? []
  ).map(Number);
}

const uptimeOf = (text) => Number(text.split(/\s/)[0]);

function faultsOf(guest, row, cpus, report) {
  const faults = [];
  const expect = (good, what) => {
    if (!good) faults.push(what);
  };
  const found = sections(report.exec?.output ?? "");
  const part = (name) => found.get(name) ?? "";
  expect(report.ok && report.exec?.status === 0, `the probe failed: ${report.error ?? report.exec?.status}`);
  const processors = row.single ? 1 : cpus;
  expect(part("nproc") === String(processors), `nproc ${part("nproc")}, not ${processors}`);
  const { controller = "IO-APIC", clock = "tsc", tick = "LOC", allowed = /$^/ } = row;
  const interrupts = part("interrupts");
  const serial = interrupts.split("\n").find((line) => line.includes("ttyS0")) ?? "";
  expect(serial.includes(controller), `ttyS0 is not on ${controller}: ${serial}`);
  expect(part("clocksource").startsWith(clock), `clocksource ${part("clocksource")}, not ${clock}`);
  for (const name of ["SPU", "ERR", "MIS"])
    expect(
      countsOf(interrupts, name).every((count) => count === 0),
      `${name} is not 0`,
    );
  if (processors > 1)
    for (const name of ["RES", "CAL"])
      expect(
        countsOf(interrupts, name).some((count) => count > 0),
        `no ${name} was counted`,
      );

  const seconds = Math.round(100 * (uptimeOf(part("after")) - uptimeOf(part("before")))) / 100;
  const ticks = (countsOf(part("after"), tick)[0] ?? 0) - (countsOf(part("before"), tick)[0] ?? 0);
  // Uptime is printed in hundredths, and the counts are read a moment apart from it.
  const least = Math.floor((seconds - 0.02) * tickHertz * 0.999);
  expect(seconds >= loadSeconds && ticks >= least, `${ticks} ticks in ${seconds} s of load, not ${least}`);
  const clockError = report.guestTime / 1e9 - uptimeOf(part("uptime"));
  const idle = row.idle ?? usualIdle;
  const worst = clockStart[guest] + 0.001 * idle;
  expect(clockError >= 0 && clockError <= worst, `the clock is ${clockError} s off after ${idle} s`);
  const log = part("dmesg").replace(/^.*-\[ cut here \][\s\S]*?-\[ end trace .*$/gm, (block) =>
    row.trace?.test(block) ? "" : block,
  );
  for (const line of log.split("\n"))
    if (!allowed.test(line) && kernelComplaints.some((complaint) => complaint.test(line))) faults.push(line);
  return { faults, ticks, seconds, clockError };
}

let passed = 0;
let failed = 0;
const tasks = guests.flatMap((guest) =>
  rows.flatMap((row) =>
    counts.map((cpus) => async () => {
      const name = `${guest} ${row.parameter || "(none)"}, ${cpus} processor${cpus > 1 ? "s" : ""}`;
      const { report, reason } = await coldBoot([
        ...["--guest", guest, "--cpus", String(cpus), "--timeout", "300"],
        ...["--cmdline", `${base} ${row.parameter}`.trim(), "--exec", probe(row.idle ?? usualIdle)],
      ]);
      const { faults, ...figures } =
        report === undefined ? { faults: [reason] } : faultsOf(guest, row, cpus, report);
      if (faults.length === 0) passed++;
      else failed++;
      const { ticks, seconds, clockError } = figures;
      if (faults.length > 0) console.log(`FAIL ${name}: ${faults.join("; ")}`);
      else if (verbose) {
        const rate = `${ticks} ticks in ${seconds.toFixed(2)} s of load`;
        console.log(
          `ok   ${name}: ${rate}, clock ${clockError.toFixed(3)} s, ${report.cpuSeconds.toFixed(1)} s CPU`,
        );
      }
    }),
  ),
);
await inParallel(tasks);
console.log(`${passed} passed, ${failed} failed, 0 skipped`);
process.exitCode = failed === 0 ? 0 : 1;
