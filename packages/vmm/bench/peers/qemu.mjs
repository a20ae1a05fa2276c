// Boots a guest under QEMU's TCG, as the peer of our own processor: same kernel, initramfs, command line and memory.
import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

const CLOCK_TICK = 100;
const READY = "ENTRESOL READY";

/** QEMU's version line, or undefined when it is not installed. */
export function qemuVersion() {
  const result = spawnSync("qemu-system-x86_64", ["--version"], { encoding: "utf8" });
  return result.status === 0 ? result.stdout.split("\n")[0] : undefined;
}

/** CPU time of a process in seconds, user and system, from /proc. */
function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICK;
}

/** CPU time in seconds of all children of this process that have ended, from /proc. */
export function childCpuSeconds() {
  const fields = readFileSync("/proc/self/stat", "utf8").split(") ")[1].split(" ");
  return (Number(fields[13]) + Number(fields[14])) / CLOCK_TICK;
}

/**
 * Boots to the agent's READY line on COM2, then, when `command` is given, runs it. Gives CPU and wall seconds to READY, and
 * the CPU seconds of the command. Rejects after `timeout` ms.
 */
export function bootUnderQemu({
  kernel,
  initrd,
  commandLine,
  memory = 256,
  cpus = 1,
  command,
  timeout = 120_000,
}) {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const qemu = spawn(
      "qemu-system-x86_64",
      [
        "-accel",
        "tcg",
        "-m",
        String(memory),
        "-smp",
        String(cpus),
        "-kernel",
        kernel,
        "-initrd",
        initrd,
        "-append",
        commandLine,
        "-display",
        "none",
        "-nodefaults",
        "-no-reboot",
        "-serial",
        "null",
        "-serial",
        "stdio",
      ],
      { stdio: ["pipe", "pipe", "ignore"] },
    );
    let text = "";
    let ready;
    const timer = setTimeout(() => finish(new Error("QEMU did not boot the guest in time")), timeout);
    const finish = (error, value) => {
      clearTimeout(timer);
      qemu.kill("SIGKILL");
      if (error) reject(error);
      else resolve(value);
    };
    qemu.on("error", finish);
    qemu.on("exit", (code) => finish(new Error(`QEMU ended with ${code}`)));
    qemu.stdout.on("data", (chunk) => {
      text += chunk.toString("latin1");
      if (ready === undefined && text.includes(READY)) {
        ready = { cpuSeconds: cpuSeconds(qemu.pid), wallSeconds: (performance.now() - started) / 1000 };
        if (command === undefined) finish(undefined, ready);
        else qemu.stdin.write(`EXEC q ${Buffer.from(command).toString("base64")}\n`);
      } else if (ready !== undefined && text.includes("\nENTRESOL EXIT q ")) {
        finish(undefined, {
          ...ready,
          commandCpuSeconds: cpuSeconds(qemu.pid) - ready.cpuSeconds,
          output: text,
        });
      }
    });
  });
}
