// CPU time of a cold boot to the prompt, and of work in the guest, beside QEMU's TCG on the same kernel, initramfs and command line.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { DEFAULT_COMMAND_LINE } from "../dist/cli/guest-choice.js";
import { ensureGuest } from "../dist/index.js";
import { bootUnderQemu, qemuVersion } from "./peers/qemu.mjs";

const ROUNDS = 5;
const command = fileURLToPath(new URL("../bin/entresol.js", import.meta.url));
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

function bootOurs(guest, exec) {
  const { stdout, stderr } = spawnSync(
    process.execPath,
    // The peer has no TPM.
    [command, "boot", "--guest", guest, "--tpm", "none", "--cold", "--json", "--exec", exec],
    { encoding: "utf8", maxBuffer: 2 ** 28 },
  );
  if (stdout === "") throw new Error(`boot failed: ${stderr}`);
  return JSON.parse(stdout);
}

/** Work whose cost is the guest's own code: a hot loop in a shell's arithmetic, and a digest. */
const work = [
  { name: "sha256sum of 16 MiB", command: "dd if=/dev/zero bs=1M count=16 2>/dev/null | sha256sum" },
  {
    name: "awk loop of 300,000",
    command: "awk 'BEGIN { for (i = 0; i < 300000; i++) s += i % 7; print s }'",
  },
];

export async function bench() {
  const rows = [];
  const qemu = qemuVersion();
  for (const release of ["debian12", "debian13"]) {
    const guest = await ensureGuest(release);
    const ours = [];
    const peer = [];
    let last;
    for (let round = 0; round < (release === "debian12" ? ROUNDS : 3); round++) {
      last = bootOurs(release, "true");
      ours.push(last.cpuSeconds);
      if (qemu !== undefined)
        peer.push((await bootUnderQemu({ ...guest, commandLine: DEFAULT_COMMAND_LINE })).cpuSeconds);
    }
    const row = {
      case: `${release}: CPU time of a cold boot`,
      ours: median(ours),
      unit: "s",
      peerName: qemu ?? "QEMU not installed",
    };
    rows.push(
      qemu === undefined
        ? row
        : { ...row, peer: median(peer), peerName: "QEMU TCG", ratio: median(peer) / median(ours) },
    );
    rows.push({
      case: `${release}: instructions of CPU time in boot`,
      ours: last.instructions / median(ours) / 1e6,
      unit: "M/s",
    });
  }
  const guest = await ensureGuest("debian12");
  const idle = bootOurs("debian12", "true");
  for (const { name, command: text } of work) {
    const run = bootOurs("debian12", text);
    const ours = run.cpuSeconds - idle.cpuSeconds;
    const row = { case: name, ours, unit: "s" };
    if (qemu === undefined) rows.push({ ...row, peerName: "QEMU not installed" });
    else {
      const { commandCpuSeconds } = await bootUnderQemu({
        ...guest,
        commandLine: DEFAULT_COMMAND_LINE,
        command: text,
      });
      rows.push({ ...row, peer: commandCpuSeconds, peerName: "QEMU TCG", ratio: commandCpuSeconds / ours });
    }
    rows.push({
      case: `${name}: instructions of CPU time`,
      ours: (run.instructions - idle.instructions) / ours / 1e6,
      unit: "M/s",
    });
  }
  return rows;
}
