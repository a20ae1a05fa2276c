// Interrupts of a PCI function in Debian: the test function (specs/pci.md) raises 10,000 of each kind, a driver of ours in the guest
// (packages/vmm/testing/interrupts-driver) takes them, and none may be lost and none doubled. Four counts must agree for each vector:
// what the device model raised, what the device's registers say, what the driver's handler took, and what the kernel counted in
// /proc/interrupts. node checks/pci-interrupts.mjs [--only "default x1,noapic x4"]
import { join, resolve } from "node:path";
import { Worker } from "node:worker_threads";
import { ensureGuest, GuestImageError } from "@entresol/vmm";
import { inParallel } from "./guest-runs.mjs";
import { kernelModule, NoModuleBuild } from "./kernel-module.mjs";

const driver = "entresol_interrupts";
const inTurn = -1;
/** Far longer than any stretch in which the guest takes no interrupt: two of a vector that meet are one. */
const slow = 200_000;
const middle = 20_000;
const fast = 1000;

/**
 * How the driver is loaded, and what runs then: on which function (all of `at` at once), by which vector, how many interrupts, how
 * many ns apart. hold: each waits until the one before was acknowledged, as a level always does. mask: 1 each vector, 2 the function,
 * now and then. move: the interrupts go from processor to processor meanwhile. fault: the function goes wrong, and the check must see
 * it. Between runs the functions are reset.
 */
const intx = {
  kind: "intx",
  runs: [
    { at: ["bus0"], vector: 0, count: 10_000, interval: slow },
    { at: ["port"], vector: 0, count: 10_000, interval: middle, move: true },
    { at: ["bus0", "port"], vector: 0, count: 10_000, interval: fast },
  ],
};
const messages = [
  {
    kind: "msi",
    vectors: 8,
    // The kernel gives one of the eight asked for: whatever the vector, it comes there.
    given: 1,
    runs: [
      { at: ["port"], vector: 5, count: 10_000, interval: slow },
      { at: ["bus0"], vector: 0, count: 10_000, interval: middle, hold: true, move: true },
      { at: ["port"], vector: 0, count: 10_000, interval: middle, hold: true, mask: 1 },
      { at: ["bus0", "port"], vector: 0, count: 10_000, interval: middle, hold: true, mask: 2 },
    ],
  },
  {
    kind: "msix",
    vectors: 8,
    given: 8,
    runs: [
      { at: ["bus0"], vector: 3, count: 10_000, interval: slow },
      { at: ["bus0"], vector: inTurn, count: 10_000, interval: fast, hold: true },
      { at: ["port"], vector: inTurn, count: 10_000, interval: slow },
      { at: ["port"], vector: inTurn, count: 10_000, interval: middle, hold: true, move: true },
      { at: ["port"], vector: inTurn, count: 10_000, interval: middle, hold: true, mask: 1 },
      { at: ["bus0", "port"], vector: inTurn, count: 10_000, interval: middle, hold: true, mask: 2 },
    ],
  },
  {
    // Four vectors by one MSI capability: those of the other function's MSI-X, see the driver.
    kind: "lent",
    vectors: 16,
    given: 4,
    // The kernel does not know of that MSI, and would not set it up again after a reset.
    reset: false,
    runs: [
      { at: ["port"], vector: inTurn, count: 10_000, interval: slow },
      { at: ["port"], vector: inTurn, count: 10_000, interval: middle, hold: true, mask: 2 },
    ],
  },
];

/** That this check finds what it looks for. */
const faulty = {
  kind: "msix",
  vectors: 8,
  given: 8,
  runs: ["lost", "doubled", "misrouted"].map((fault) => ({
    at: ["port"],
    vector: 0,
    count: 1000,
    interval: slow,
    fault,
  })),
};

/** Debian 12's own, see checks/boot-matrix.mjs; without ACPI it knows of one processor and no APIC. */
const trace = /drivers\/pci\/msi\/msi\.h|arch_setup_msi_irqs/;
const machines = [
  { parameters: "", cpus: 4, loads: [intx, ...messages], moves: true, hotPlug: true },
  { parameters: "", cpus: 1, loads: [intx, ...messages, faulty], hotPlug: true },
  ...[4, 1].flatMap((cpus) => [
    { parameters: "noapic", cpus, loads: [intx, messages[0]], controller: "XT-PIC" },
    { parameters: "acpi=off", cpus, loads: [intx], controller: "XT-PIC", trace },
  ]),
].map(({ controller = "IO-APIC", ...machine }) => ({
  ...machine,
  controller,
  name: `${machine.parameters || "default"} x${machine.cpus}`,
  loads: machine.loads.map((load) => ({
    ...load,
    runs: load.runs.map((run) => ({ ...run, what: describe(load, run) })),
  })),
}));

function describe({ kind, given = 1 }, { vector, interval, hold, mask, move, at, fault }) {
  const name = kind === "lent" ? "msi" : kind;
  const parts = [
    kind === "intx" ? name : `${name} ${vector === inTurn ? `${given} vectors in turn` : `vector ${vector}`}`,
    hold === true || kind === "intx" ? `held ${interval / 1000} us` : `every ${interval / 1000} us`,
    ["", "masking vectors", "masking all"][mask ?? 0],
    move === true ? "moving" : "",
    at.length > 1 ? "both at once" : "",
    fault === undefined ? "" : `one in 500 ${fault}`,
  ];
  return parts.filter((part) => part !== "").join(", ");
}

async function main() {
  const args = process.argv.slice(2);
  const only = args.includes("--only") ? args[args.indexOf("--only") + 1].split(",") : undefined;
  const chosen = machines.filter(({ name }) => only === undefined || only.includes(name));
  const sources = resolve(import.meta.dirname, "../packages/vmm/testing/interrupts-driver");
  let guest;
  let module;
  try {
    guest = await ensureGuest("debian12");
    module = await kernelModule(driver, sources, guest);
  } catch (error) {
    if (!(error instanceof NoModuleBuild || error instanceof GuestImageError)) throw error;
    const required = process.env.ENTRESOL_REQUIRE_PEERS === "1";
    console.log(`no guest with a driver: ${error.message}`);
    console.log(required ? "0 passed, 1 failed, 0 skipped" : `0 passed, 0 failed, ${chosen.length} skipped`);
    process.exitCode = required ? 1 : 0;
    return;
  }
  let passed = 0;
  let failed = 0;
  const widths = [11, 68, 8, 7, 7, 7, 7, 10, 8];
  const print = (cells) =>
    console.log(
      cells
        .map((cell, i) => (i < 3 ? String(cell).padEnd(widths[i]) : String(cell).padStart(widths[i])))
        .join(" ")
        .trimEnd(),
    );
  print(["machine", "interrupts", "function", "raised", "taken", "acked", "kernel", "processors", "masked"]);
  await inParallel(
    chosen.map((machine) => async () => {
      for (const { what, rows, faults } of await inWorker({ ...machine, guest, module })) {
        for (const { place, raised, taken, acknowledged, kernel, perCpu, masked } of rows) {
          const processors = perCpu.filter((count) => count > 0).length;
          const times = masked > 0 ? masked : "";
          print([machine.name, what, place, raised, taken, acknowledged, kernel, processors, times]);
        }
        if (rows.length === 0 && faults.length === 0) print([machine.name, what, "ok"]);
        if (faults.length === 0) passed++;
        else failed++;
        for (const fault of faults) console.log(`FAIL ${machine.name}: ${what}: ${fault}`);
      }
    }),
  );
  console.log(`${passed} passed, ${failed} failed, 0 skipped`);
  process.exitCode = failed === 0 ? 0 : 1;
}

/** What a machine reports, run in a thread of its own. */
function inWorker(workerData) {
  return new Promise((done) => {
    const worker = new Worker(join(import.meta.dirname, "pci-interrupts-machine.mjs"), { workerData });
    const ended = (why) => done([{ what: "the machine", rows: [], faults: [why] }]);
    worker.on("message", done);
    worker.on("error", (error) => ended(error.message));
    worker.on("exit", (status) => ended(`its thread ended with ${status}`));
  });
}

await main();
