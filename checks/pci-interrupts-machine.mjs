// One machine of checks/pci-interrupts.mjs, in a worker thread: Debian with test functions and our driver for them. Gets the row
// of the machine, the guest and the driver as workerData, and posts a list of what it found.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { TestFunction } from "@entresol/devices";
import { buildInitramfs, GuestAgent, Vm } from "@entresol/vmm";
import { kernelComplaints } from "./guest-runs.mjs";

const driver = "entresol_interrupts";
/** Bus 0, device 4 has the same PIRQ as what is behind root port 0: INTx is shared. Hot-plug is behind root port 1. */
const places = { bus0: "0000:00:04.0", port: "0000:01:00.0", slot: "0000:09:00.0" };

/** Counts what the device model sends, by vector as the guest set it up. With a fault it goes wrong once in 500. */
class CountedFunction extends TestFunction {
  raised = new Map();
  given = 1;
  fault = undefined;
  #again;
  #count = 0;

  constructor(options) {
    super(options);
    this.#again = options.timebase.timer("doubled", () => super.raiseInterrupt(0));
    this.time = options.timebase;
  }

  raiseInterrupt(vector) {
    const chosen = vector % this.given;
    this.raised.set(chosen, (this.raised.get(chosen) ?? 0) + 1);
    const wrong = this.fault !== undefined && ++this.#count % 500 === 0;
    if (wrong && this.fault === "lost") return true;
    if (wrong && this.fault === "misrouted") return super.raiseInterrupt(vector + 1);
    // Later, as two that are equal are one while the first still waits in the local APIC.
    if (wrong && this.fault === "doubled") this.#again.arm(this.time.now() + 50_000);
    return super.raiseInterrupt(vector);
  }
}

/** What is said of a run of 1000 by one vector with such a fault. */
const faultSigns = {
  lost: /: 998 taken$/,
  doubled: /: 2 doubled$/,
  misrouted: /: vector 1 was raised 0 times and taken 2 times$/,
};

/** Debian with the driver in its initramfs, and the functions plugged in. */
async function startMachine({ cpus, parameters }, guest, module) {
  const functions = {};
  let pci;
  let time;
  const folder = dirname(guest.kernel);
  const vm = await Vm.create({
    memory: 256 * 2 ** 20,
    cpus,
    devices: [
      (platform) => {
        ({ pci, time } = platform);
        functions.bus0 = new CountedFunction({ timebase: time, integrated: true });
        functions.port = new CountedFunction({ timebase: time });
        pci.attach(functions.bus0, { device: 4 });
        pci.attach(functions.port, { port: 0 });
      },
    ],
    boot: {
      kind: "linux",
      kernel: readFileSync(guest.kernel),
      initrd: buildInitramfs({ busybox: readFileSync(join(folder, "busybox")), unloaded: [module] }),
      commandLine: `console=ttyS0 panic=-1 cryptomgr.notests quiet ${parameters}`,
    },
  });
  let log = "";
  vm.serial[0].onOutput = (bytes) => {
    log += Buffer.from(bytes).toString("latin1");
  };
  const agent = new GuestAgent((bytes) => vm.serial[1].send(bytes));
  vm.serial[1].onOutput = (bytes) => agent.receive(bytes);
  const stopped = vm.run();
  const ended = stopped.then(({ kind }) => {
    throw new Error(`the machine ended (${kind}): ${log.slice(-1500)}`);
  });
  ended.catch(() => undefined);
  setTimeout(() => vm.pause(), longest).unref();
  await Promise.race([agent.whenReady(), ended]);
  return {
    functions,
    plugIn() {
      functions.slot = new CountedFunction({ timebase: time });
      pci.hotAdd(1, functions.slot);
    },
    pullOut: () => pci.hotRemove(1),
    async says(command) {
      let text = "";
      const result = agent.exec(command, (bytes) => {
        text += Buffer.from(bytes).toString("latin1");
      });
      await Promise.race([result, ended]);
      return text;
    },
    async end() {
      agent.powerOff();
      await stopped;
      await vm[Symbol.asyncDispose]();
    },
  };
}

/** Lines of /proc/interrupts of the driver: by interrupt, the counts of each processor. */
function interruptLines(text) {
  const lines = new Map();
  for (const [, irq, counts] of text.matchAll(/^\s*(\d+):((?:\s+\d+)+)\s.*entresol:/gm))
    lines.set(Number(irq), counts.trim().split(/\s+/).map(Number));
  return lines;
}

const sum = (numbers) => [...numbers].reduce((total, number) => total + number, 0);
const pathOf = (place) => `/sys/bus/pci/devices/${places[place]}`;
/** ms of this machine's time for one guest, some ten times what it takes. */
const longest = 300_000;
const parts = "=====";

/** One run: what it gave for each function, and what is wrong. */
async function oneRun(machine, { kind, given = 1, controller }, run) {
  const { at, vector, count, interval, hold = false, mask = 0, move = false, fault } = run;
  for (const place of at) {
    machine.functions[place].given = given;
    machine.functions[place].fault = fault;
    machine.functions[place].raised.clear();
  }
  const words = `${vector} ${count} ${interval} ${Number(hold)} ${mask}`;
  const moves =
    "for c in 1 2 4 8; do for i in $irqs; do echo $c >/proc/irq/$i/smp_affinity 2>/dev/null; done; sleep 0.01; done";
  const said = await machine.says(
    [
      "grep entresol: /proc/interrupts",
      `echo ${parts}`,
      ...at.map((place) => `(echo ${words} >${pathOf(place)}/run; echo status ${place} $?) & last=$!`),
      ...(move
        ? [
            "irqs=$(grep entresol: /proc/interrupts | cut -d: -f1)",
            `while kill -0 $last 2>/dev/null; do ${moves}; done`,
          ]
        : []),
      "wait",
      ...at.map((place) => `echo ${parts}; cat ${pathOf(place)}/counts`),
      `echo ${parts}`,
      "grep entresol: /proc/interrupts",
    ].join("\n"),
  );
  const [before, status, ...rest] = said.split(`${parts}\n`);
  const lines = interruptLines(rest.at(-1));
  const earlier = interruptLines(before);
  const faults = [];
  const expect = (what, good) => good || faults.push(what);
  if (controller !== undefined)
    expect(`the interrupt is not by ${controller}`, new RegExp(`${controller}.*entresol:`).test(rest.at(-1)));
  const rows = at.map((place, index) => {
    const text = rest[index];
    const { raised: sent } = machine.functions[place];
    const value = (name) => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1] ?? Number.NaN);
    const vectors = [...text.matchAll(/^vector (\d+) (\d+)$/gm)].map(([, irq, taken]) => ({
      irq: Number(irq),
      taken: Number(taken),
    }));
    const taken = sum(vectors.map((each) => each.taken));
    const lineOf = (irq) => lines.get(irq)?.map((now, cpu) => now - earlier.get(irq)[cpu]) ?? [];
    const perCpu = vectors
      .map(({ irq }) => lineOf(irq))
      .reduce((all, line) => line.map((n, cpu) => n + (all[cpu] ?? 0)), []);
    const row = {
      place,
      raised: value("raised"),
      taken,
      acknowledged: value("acknowledged"),
      kernel: sum(perCpu),
      perCpu,
      vectors: vectors.length,
      masked: value("masked"),
      pending: value("pending"),
    };
    expect(`${place}: run ended with ${status.trim()}`, status.includes(`status ${place} 0\n`));
    expect(`${place}: ${row.raised} of ${count} raised`, row.raised === count);
    expect(`${place}: the device model raised ${sum(sent.values())}`, sum(sent.values()) === count);
    expect(`${place}: ${taken} taken`, taken === count);
    expect(`${place}: ${row.acknowledged} acknowledged`, row.acknowledged === count);
    expect(`${place}: ${value("excess")} doubled`, value("excess") === 0);
    expect(`${place}: ${vectors.length} vectors, not ${given}`, vectors.length === given);
    for (const [number, { irq, taken: own }] of vectors.entries()) {
      const from = sent.get(number) ?? 0;
      expect(`${place}: vector ${number} was raised ${from} times and taken ${own} times`, own === from);
      // Both functions of a shared line are served by each of its interrupts.
      const counted = sum(lineOf(irq));
      const right =
        kind === "intx" && at.length > 1 ? counted >= own && counted <= at.length * own : counted === own;
      expect(`${place}: the kernel counted ${counted} for vector ${number}, the driver ${own}`, right);
    }
    if (vector < 0)
      expect(
        `${place}: not all vectors were used`,
        vectors.every((each) => each.taken > 0),
      );
    if (mask !== 0) {
      expect(`${place}: ${value("early")} times one came through a mask`, value("early") === 0);
      // Not always: at the end of the series none is left, and one that had just been sent waits in the kernel.
      const waited = row.masked > 20 && row.pending > 0.9 * row.masked;
      expect(`${place}: ${row.pending} of ${row.masked} times one was pending behind a mask`, waited);
    }
    const dropped = machine.functions[place].inspect()["messages dropped"];
    expect(`${place}: ${dropped} messages dropped`, dropped === 0);
    return row;
  });
  return { rows, faults };
}

const loadDriver = ({ kind, vectors = 1 }) => {
  // So that the four lent vectors are of one processor.
  const spread = kind === "lent" ? "echo 1 >/proc/irq/default_smp_affinity; " : "";
  return `${spread}insmod /lib/modules/${driver}.ko kind=${kind} vectors=${vectors}`;
};

/** Resets the functions by themselves, and finds them as they were at first. */
async function resetFunctions(machine, at) {
  const said = await machine.says(
    at
      .map((place) => `echo flr >${pathOf(place)}/reset_method; echo 1 >${pathOf(place)}/reset; echo $?`)
      .join("; "),
  );
  const faults = /^(0\n)+$/.test(said) ? [] : [said];
  for (const place of at) {
    const { RAISED } = machine.functions[place].inspect().registers;
    if (RAISED !== 0) faults.push(`${place}: still says that it raised ${RAISED}`);
  }
  return faults;
}

/** What the kernel complains about, but for call traces that it is known to print on any such machine. */
function complaintsIn(log, trace) {
  return log
    .replace(/^.*-\[ cut here \][\s\S]*?-\[ end trace .*$/gm, (block) => (trace?.test(block) ? "" : block))
    .split("\n")
    .filter((line) => kernelComplaints.some((complaint) => complaint.test(line)));
}

/** All that the row of the machine asks for, each to `report`. */
async function runMachine(options, report) {
  const { guest, module, loads, hotPlug = false, moves = false } = options;
  const machine = await startMachine(options, guest, module);
  const resetFaults = [];
  let resets = 0;
  for (const load of loads) {
    const said = await machine.says(loadDriver(load));
    if (said !== "") report(`the driver, ${load.kind}`, [said]);
    for (const run of load.runs) {
      const controller = load.kind === "intx" ? options.controller : undefined;
      const { rows, faults } = await oneRun(machine, { ...load, controller }, run);
      if (run.move && moves)
        for (const { place, perCpu } of rows)
          if (perCpu.filter((count) => count > 0).length < 2)
            faults.push(`${place}: stayed on one processor`);
      if (run.fault === undefined) report(run.what, faults, rows);
      else {
        const found = faults.some((each) => faultSigns[run.fault].test(each));
        report(`${run.what}: must be found`, found ? [] : ["it was not found", ...faults], rows);
      }
      if (load.reset === false) continue;
      resets++;
      resetFaults.push(...(await resetFunctions(machine, run.at)));
    }
    await machine.says(`rmmod ${driver}`);
  }
  if (hotPlug) for (const kind of ["msi", "msix", "intx"]) await plugInAndOut(machine, kind, report);
  report(`function-level reset ${resets} times, between the runs`, resetFaults);
  report("the kernel's log", complaintsIn(await machine.says("dmesg"), options.trace));
  await machine.end();
}

/** A function comes at run time, and is pulled out while it interrupts. */
async function plugInAndOut(machine, kind, report) {
  const slot = pathOf("slot");
  await machine.says(loadDriver({ kind, vectors: 4 }));
  machine.plugIn();
  const given = kind === "msix" ? 4 : 1;
  await machine.says(`for i in $(seq 100); do [ -e ${slot}/run ] && break; sleep 0.1; done`);
  const run = { at: ["slot"], vector: -1, count: 1000, interval: 1000, hold: true };
  const { rows, faults } = await oneRun(machine, { kind, given }, run);
  report(`${kind}, plugged in while Debian runs`, faults, rows);

  const { raised } = machine.functions.slot;
  raised.clear();
  await machine.says(`echo -1 4000000000 5000 1 0 2>/tmp/stream >${slot}/run & sleep 0.3`);
  machine.pullOut();
  const said = await machine.says(
    [
      `for i in $(seq 100); do [ -e ${slot} ] || break; sleep 0.1; done`,
      `ls /sys/bus/pci/devices; cat /tmp/stream; rmmod ${driver}; lsmod`,
    ].join("\n"),
  );
  const stream = sum(raised.values());
  const wrong = [];
  if (stream < 1000) wrong.push(`there were only ${stream} interrupts`);
  if (said.includes(places.slot)) wrong.push(`it is still there: ${said}`);
  if (!said.includes("No such device")) wrong.push(`the driver did not notice: ${said}`);
  if (said.includes(driver)) wrong.push(`the driver stays: ${said}`);
  report(`${kind}, pulled out amid ${stream} interrupts`, wrong);
}

const reports = [];
const report = (what, faults, rows = []) => reports.push({ what, faults, rows });
// What was found before the machine failed is worth knowing too.
await runMachine(workerData, report).catch((error) => report("the machine", [error.message]));
parentPort.postMessage(reports);
