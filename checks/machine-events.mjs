// What happens to a machine that runs Debian: PCI functions are plugged in and pulled out, the attention button and the power
// button are pressed. The guest must notice each, by itself, and in the end shut itself down. Then a reset in each way that Linux
// knows.
// node checks/machine-events.mjs [--guest debian12] [--cpus 2]
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { PciFunction } from "@entresol/devices";
import { buildInitramfs, ensureGuest, GuestAgent, Vm } from "@entresol/vmm";

const args = process.argv.slice(2);
const option = (name, fallback) => (args.includes(name) ? args[args.indexOf(name) + 1] : fallback);
const guest = await ensureGuest(option("--guest", "debian12"));
const folder = dirname(guest.kernel);
const module = (path) => ({
  name: path.split("/").at(-1).replace(/\.ko$/, ""),
  bytes: readFileSync(join(folder, "modules/kernel", path)),
});
/** A function without a driver: one page of memory that reads zero. */
const card = () =>
  new PciFunction({
    name: "card",
    vendor: 0x1b36,
    device: 0x7e57,
    classCode: 0xff0000,
    interruptPin: 1,
    bars: [{ index: 0, kind: "memory32", size: 0x1000, device: { mmioRead: () => 0, mmioWrite() {} } }],
  });

/** Debian with further kernel parameters, at its prompt. */
async function machine(parameters, devices = []) {
  const vm = await Vm.create({
    memory: 256 * 2 ** 20,
    cpus: Number(option("--cpus", "2")),
    devices,
    boot: {
      kind: "linux",
      kernel: readFileSync(guest.kernel),
      initrd: buildInitramfs({
        busybox: readFileSync(join(folder, "busybox")),
        modules: [module("drivers/acpi/button.ko"), module("drivers/input/evdev.ko")],
      }),
      commandLine: `console=ttyS0 panic=-1 cryptomgr.notests ${parameters}`.trim(),
    },
  });
  let log = "";
  vm.serial[0].onOutput = (bytes) => {
    log += Buffer.from(bytes).toString("latin1");
  };
  const agent = new GuestAgent((bytes) => vm.serial[1].send(bytes));
  vm.serial[1].onOutput = (bytes) => agent.receive(bytes);
  const stopped = vm.run();
  await agent.whenReady();
  const timeout = setTimeout(() => vm.pause(), 120_000);
  return {
    vm,
    says: async (command) => {
      let text = "";
      await agent.exec(command, (bytes) => {
        text += Buffer.from(bytes).toString("latin1");
      });
      return text;
    },
    /** How the machine stopped, and what it logged. */
    end: async () => {
      const { kind } = await stopped;
      clearTimeout(timeout);
      await vm[Symbol.asyncDispose]();
      return { kind, log };
    },
  };
}

let passed = 0;
const faults = [];
function expect(what, good, detail) {
  if (good) passed++;
  else faults.push(`${what}: ${detail}`);
}

let pci;
const { vm, says, end } = await machine("", [
  (platform) => {
    pci = platform.pci;
    pci.attach(card(), { device: 4 });
  },
]);
/** What the guest logged and which functions it has, `seconds` of its time later. */
const after = (seconds) => says(`sleep ${seconds}; dmesg -c; ls /sys/bus/pci/devices`);

let said = await says("dmesg -c >/dev/null; ls /sys/bus/pci/devices; grep -h . /sys/class/input/input*/name");
expect("a function that was there before", said.includes("0000:00:04.0"), said);
expect("buttons", said.includes("Power Button") && said.includes("Sleep Button"), said);
pci.hotAdd(0, card());
said = await after(6);
expect(
  "a function is plugged in",
  /Slot\(1\): Card present/.test(said) && said.includes("0000:01:00.0"),
  said,
);
expect("it gets an address", /0000:01:00\.0: BAR 0.*assigned/.test(said), said);
pci.hotRemove(0);
said = await after(6);
expect("it is pulled out", /Slot\(1\): Card not present/.test(said) && !/^0000:01/m.test(said), said);
pci.hotAdd(1, card());
said = await after(6);
expect("the other slot", /Slot\(2\): Card present/.test(said) && said.includes("0000:09:00.0"), said);
expect("the attention button", pci.pressAttentionButton(1), "it was not taken");
said = await after(12);
expect(
  "the attention button puts a slot out of use",
  /Slot\(2\): Powering off due to button press/.test(said) && !/^0000:09/m.test(said),
  said,
);
// What a power manager does: it waits for the key and asks init for a shutdown.
await says("(dd if=/dev/input/event0 bs=24 count=1 of=/dev/null 2>/dev/null; poweroff) >/dev/null 2>&1 &");
vm.pressPowerButton();
const { kind, log } = await end();
expect(
  "the power button",
  kind === "power-off" && log.includes("reboot: Power down"),
  `${kind}: ${log.slice(-500)}`,
);

// The ACPI reset register, port 0xCF9 by the kernel's own knowledge, and the keyboard controller's command.
for (const way of ["acpi", "pci", "kbd"]) {
  const other = await machine(`reboot=${way}`);
  const sleeps = await other.says("cat /sys/power/state /sys/power/mem_sleep; (usleep 50000; reboot -f) &");
  expect("no sleep state of the platform is offered", !/deep|standby/.test(sleeps), sleeps);
  const stop = await other.end();
  expect(`reset by ${way}`, stop.kind === "reset", `${stop.kind}: ${stop.log.slice(-500)}`);
}
for (const fault of faults) console.log(`FAIL ${guest.kernelVersion} ${fault}`);
console.log(`${passed} passed, ${faults.length} failed, 0 skipped`);
process.exitCode = faults.length === 0 ? 0 : 1;
