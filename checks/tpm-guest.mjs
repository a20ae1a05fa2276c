// Debian with a TPM: what was measured before it ran, what it measures itself, and what stays over a snapshot, a reboot and the next run.
// node checks/tpm-guest.mjs [--only TEXT] [--release debian12]   (after npm run build)
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventTypeName, parseEventLog, replay } from "@entresol/evidence";
import { ensureGuest, GuestAgent, Vm } from "@entresol/vmm";
import { inParallel, kernelComplaints } from "./guest-runs.mjs";

const args = process.argv.slice(2);
const option = (name) => (args.includes(name) ? args[args.indexOf(name) + 1] : undefined);
const only = option("--only") ?? "";
const release = option("--release");
if (release === undefined) {
  await bothReleases();
  process.exit();
}

/** A VM keeps one core busy: each release has a process of its own. */
async function bothReleases() {
  const sums = { passed: 0, failed: 0, skipped: 0 };
  const run = (name) => async () => {
    const child = spawn(process.execPath, [import.meta.filename, ...args, "--release", name], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const chunks = [];
    child.stdout.on("data", (chunk) => chunks.push(chunk));
    await new Promise((done) => child.on("close", done));
    const lines = Buffer.concat(chunks).toString().trimEnd().split("\n");
    const counts = /^(\d+) passed, (\d+) failed, (\d+) skipped$/.exec(lines.pop());
    for (const line of lines) console.log(line);
    for (const [i, key] of Object.keys(sums).entries())
      sums[key] += Number(counts?.[i + 1] ?? (key === "failed" ? 1 : 0));
  };
  await inParallel(["debian12", "debian13"].map(run));
  console.log(`${sums.passed} passed, ${sums.failed} failed, ${sums.skipped} skipped`);
  process.exitCode = sums.failed === 0 ? 0 : 1;
}

const banks = [
  { id: 0x0004, name: "sha1", size: 20 },
  { id: 0x000b, name: "sha256", size: 32 },
  { id: 0x000c, name: "sha384", size: 48 },
  { id: 0x000d, name: "sha512", size: 64 },
];
/** PCR 10 is extended by the guest's own integrity measurement. */
const guestsOwn = 10;
const commandLine = "console=ttyS0 panic=-1 cryptomgr.notests";
const hash = (name, ...parts) => {
  const state = createHash(name);
  for (const part of parts) state.update(part);
  return state.digest("hex");
};

const found = await ensureGuest(release);
const image = { kernel: readFileSync(found.kernel), initrd: readFileSync(found.initrd) };

/** A VM that runs, and its guest's answers. */
class Guest {
  constructor(vm, ready) {
    this.vm = vm;
    this.log = "";
    vm.serial[0].onOutput = (bytes) => {
      this.log += Buffer.from(bytes).toString("latin1");
    };
    this.agent = new GuestAgent((bytes) => vm.serial[1].send(bytes));
    vm.serial[1].onOutput = (bytes) => this.agent.receive(bytes);
    if (ready) this.agent.markReady();
    this.stopped = vm.run();
    this.timeout = setTimeout(() => vm.pause(), 120_000);
  }

  static async boot({ cpus = 1, ...tpm }) {
    const vm = await Vm.create({
      memory: 256 * 2 ** 20,
      cpus,
      tpm,
      boot: { kind: "linux", ...image, commandLine },
    });
    return new Guest(vm, false);
  }

  async says(command) {
    await this.agent.whenReady();
    let text = "";
    await this.agent.exec(command, (bytes) => {
      text += Buffer.from(bytes).toString("latin1");
    });
    return text.trim();
  }

  /** Sends a command to /dev/tpm0 and gives the response, both in hexadecimal. */
  tpm(command) {
    const bytes = Buffer.from(command.replaceAll(" ", ""), "hex");
    const escaped = [...bytes].map((byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("");
    return this.says(
      `exec 3<>/dev/tpm0; printf '${escaped}' >&3; dd bs=4096 count=1 <&3 2>/dev/null | hexdump -v -e '1/1 "%02x"'`,
    );
  }

  /** Every PCR of a bank, by its number, lower-case. */
  async pcrs(bank) {
    const text = await this.says(
      `cd /sys/class/tpm/tpm0/pcr-${bank}; for n in *; do echo $n $(cat $n); done`,
    );
    return new Map(
      text.split("\n").map((line) => [Number(line.split(" ")[0]), line.split(" ")[1].toLowerCase()]),
    );
  }

  async file(path) {
    return Buffer.from(await this.says(`base64 ${path}`), "base64");
  }

  async end() {
    clearTimeout(this.timeout);
    this.vm.pause();
    const stop = await this.stopped;
    await this.vm[Symbol.asyncDispose]();
    return stop;
  }
}

const results = [];
async function check(title, run) {
  if (!title.includes(only)) return;
  const faults = [];
  const expect = (what, good, detail) => {
    if (!good) faults.push(`${what}: ${detail}`);
  };
  const began = performance.now();
  try {
    await run(expect);
  } catch (error) {
    faults.push(error.stack ?? String(error));
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  console.log(`${faults.length === 0 ? "ok  " : "FAIL"} ${title} (${seconds} s)`);
  for (const fault of faults) console.log(`     ${fault}`);
  results.push(faults.length === 0);
}

/** PCR 16 by SHA-256, extended by these 32 bytes. */
const extendDebug = (digest) =>
  `8002 00000041 00000182 00000010 00000009 40000009 0000 00 0000 00000001 000b ${digest}`;
const debugPcr = 16;
const zeros = "0".repeat(64);

/** The log that the guest was given explains its PCRs, and names what was booted. */
async function measured(guest, expect) {
  const bytes = await guest.file("/sys/kernel/security/tpm0/binary_bios_measurements");
  const log = parseEventLog(bytes);
  expect("the log's banks", log.algorithms.length === banks.length, JSON.stringify(log.algorithms));
  for (const { id, name, size } of banks) {
    const values = replay(log, id, (value, digest) => Buffer.from(hash(name, value, digest), "hex"));
    const pcrs = await guest.pcrs(name);
    expect(`${name}: PCRs`, pcrs.size === 24, `${pcrs.size}`);
    for (let n = 0; n < 16; n++) {
      if (n === guestsOwn) continue;
      const expected = Buffer.from(values.get(n) ?? new Uint8Array(size)).toString("hex");
      expect(`${name}: PCR ${n}`, pcrs.get(n) === expected, `${pcrs.get(n)}, by the log ${expected}`);
    }
  }
  const events = log.events.map(({ index, type, digests, data }) => ({
    what: `${index} ${eventTypeName(type)}`,
    digest: Buffer.from(digests[1].digest).toString("hex"),
    data: Buffer.from(data).toString("latin1"),
  }));
  const names = (what, digest) => events.some((event) => event.what === what && event.digest === digest);
  expect("the kernel in PCR 4", names("4 EV_IPL", hash("sha256", image.kernel)), JSON.stringify(events));
  expect("the kernel in PCR 9", names("9 EV_IPL", hash("sha256", image.kernel)), "");
  expect("the initramfs in PCR 9", names("9 EV_IPL", hash("sha256", image.initrd)), "");
  expect("the command line in PCR 8", names("8 EV_IPL", hash("sha256", commandLine)), "");
  const text = `kernel_cmdline: ${commandLine}\0`;
  expect(
    "the command line's text",
    events.some(({ data }) => data === text),
    "",
  );
  // The kernel's own measurements begin with a digest of what was measured before them.
  const pcrs = await guest.pcrs("sha256");
  const first = Array.from({ length: 10 }, (_, n) => Buffer.from(pcrs.get(n), "hex"));
  const list = await guest.says("head -n 1 /sys/kernel/security/ima/ascii_runtime_measurements");
  expect("IMA's boot_aggregate", list.includes(`sha256:${hash("sha256", ...first)}`), list);
  expect("IMA's PCR", pcrs.get(guestsOwn) !== zeros, pcrs.get(guestsOwn));
}

for (const kind of ["crb", "tis"]) {
  for (const cpus of [1, 4]) {
    await check(`${release}, ${kind}, ${cpus} processors`, async (expect) => {
      const guest = await Guest.boot({ interface: kind, cpus });
      const version = await guest.says(
        "cat /sys/class/tpm/tpm0/tpm_version_major; readlink /sys/class/tpm/tpm0/device/driver",
      );
      expect("the driver", version.startsWith("2\n") && version.includes(kind), version);
      await measured(guest, expect);
      const random = await guest.tpm("8001 0000000c 0000017b 0020");
      const other = await guest.tpm("8001 0000000c 0000017b 0020");
      expect(
        "TPM2_GetRandom",
        /^80010000002c000000000020[0-9a-f]{64}$/.test(random) && random !== other,
        `${random} ${other}`,
      );
      expect("PCR 16 before", (await guest.pcrs("sha256")).get(debugPcr) === zeros, "not zero");
      const digest = hash("sha256", "measured");
      const extended = await guest.tpm(extendDebug(digest));
      expect("TPM2_PCR_Extend", extended.startsWith("80020000001300000000"), extended);
      const value = (await guest.pcrs("sha256")).get(debugPcr);
      const expected = hash("sha256", Buffer.alloc(32), Buffer.from(digest, "hex"));
      expect("PCR 16 after", value === expected, `${value}, expected ${expected}`);
      const platform = await guest.tpm("8002 0000001b 00000126 4000000c 00000009 40000009 0000 00 0000");
      expect("TPM2_Clear by the platform", platform === "80010000000a000009a2", platform);
      const log = await guest.says("dmesg");
      const complaints = [...kernelComplaints, /tpm.*(error|fail|timeout|timed out|bug)/i];
      for (const complaint of complaints) {
        const line = log.split("\n").find((text) => complaint.test(text));
        expect("the kernel's log", line === undefined, line);
      }
      await guest.end();
    });
  }
}

const digest = hash("sha256", "kept");
const extendedOnce = hash("sha256", Buffer.alloc(32), Buffer.from(digest, "hex"));

await check(
  `${release}, a snapshot in the middle of a run keeps PCRs, and the run goes on as it would have`,
  async (expect) => {
    const folder = mkdtempSync(join(tmpdir(), "entresol-tpm-"));
    try {
      const path = join(folder, "machine.snapshot");
      const guest = await Guest.boot({ interface: "crb" });
      await guest.tpm(extendDebug(digest));
      guest.vm.pause();
      await guest.stopped;
      guest.vm.snapshot(path);
      const after = async (vm) => {
        const other = new Guest(vm, true);
        const pcr = (await other.pcrs("sha256")).get(debugPcr);
        const random = await other.tpm("8001 0000000c 0000017b 0020");
        await other.end();
        return { pcr, random };
      };
      clearTimeout(guest.timeout);
      const gone = await after((await Vm.resume(path)).vm);
      const stayed = await after(guest.vm);
      expect("PCR 16", gone.pcr === extendedOnce, gone.pcr);
      expect("the same run", JSON.stringify(gone) === JSON.stringify(stayed), JSON.stringify([gone, stayed]));
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

await check(
  `${release}, a reboot resets PCRs, measures again and does what the guest asked firmware for`,
  async (expect) => {
    const guest = await Guest.boot({ interface: "crb" });
    const before = await guest.pcrs("sha256");
    await guest.tpm(extendDebug(digest));
    // Function 5 of the physical presence interface: the owner is cleared.
    const request = await guest.says("cd /sys/class/tpm/tpm0/ppi; cat version; echo 5 >request; cat request");
    expect("a request by the physical presence interface", request === "1.3\n5", request);
    const rebooted = guest.says("(sleep 0.2; reboot -f) >/dev/null 2>&1 &");
    await rebooted;
    const { kind } = await guest.stopped;
    expect("the machine resets", kind === "reset", kind);
    clearTimeout(guest.timeout);
    guest.vm.restart();
    const again = new Guest(guest.vm, false);
    const after = await again.pcrs("sha256");
    expect("PCR 16", after.get(debugPcr) === zeros, after.get(debugPcr));
    for (let n = 0; n < 10; n++) expect(`PCR ${n}`, before.get(n) === after.get(n), after.get(n));
    const response = await again.says("cat /sys/class/tpm/tpm0/ppi/response");
    expect("what became of it", response === "5 0: Success", response);
    await again.end();
  },
);

await check(
  `${release}, a state folder survives the run; a second machine does not get it meanwhile`,
  async (expect) => {
    const folder = mkdtempSync(join(tmpdir(), "entresol-tpm-"));
    try {
      const state = join(folder, "tpm");
      const first = await Guest.boot({ interface: "tis", state });
      // An NV index of 8 bytes that its owner may read and write, written.
      const defined = await first.tpm(
        "8002 0000002d 0000012a 40000001 00000009 40000009 0000 00 0000 0000 000e 01500001 000b 00060006 0000 0008",
      );
      expect("TPM2_NV_DefineSpace", defined.startsWith("80020000001300000000"), defined);
      const written = await first.tpm(
        "8002 0000002b 00000137 01500001 01500001 00000009 40000009 0000 00 0000 0008 0102030405060708 0000",
      );
      expect("TPM2_NV_Write", written.startsWith("80020000001300000000"), written);
      await Guest.boot({ interface: "tis", state }).then(
        (second) => {
          expect("a second machine", false, "it was given the folder");
          return second.end();
        },
        (error) => expect("a second machine", error.code === "bad-config", error.message),
      );
      await first.end();
      const second = await Guest.boot({ interface: "tis", state });
      const read = await second.tpm(
        "8002 00000023 0000014e 01500001 01500001 00000009 40000009 0000 00 0000 0008 0000",
      );
      expect("TPM2_NV_Read", read.includes("0008" + "0102030405060708"), read);
      await second.end();
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

const passed = results.filter(Boolean).length;
console.log(`${passed} passed, ${results.length - passed} failed, 0 skipped`);
process.exitCode = passed === results.length ? 0 : 1;
