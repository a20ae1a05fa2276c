// QEMU with Debian's kernel, our initramfs and a TPM: the guest's shell over its second serial port, QEMU's monitor, the TPM's service.
import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { GuestAgent } from "@entresol/vmm";
import { TpmClient } from "@entresol/vtpm";
import { ourCommand, pause, run, start } from "./servers.mjs";

/** Debian's package ovmf. */
export const ovmf = { code: "/usr/share/OVMF/OVMF_CODE_4M.fd", variables: "/usr/share/OVMF/OVMF_VARS_4M.fd" };
const commandLine = "console=ttyS0 panic=-1 cryptomgr.notests";

async function connected(path, running) {
  for (let tries = 0; tries < 500; tries++) {
    const socket = await new Promise((done) => {
      const attempt = connect(path);
      attempt.once("error", () => done(undefined));
      attempt.once("connect", () => done(attempt));
    });
    if (socket !== undefined) return socket.on("error", () => {});
    if (running.status !== undefined) break;
    await pause(20);
  }
  throw new Error(`nobody listens at ${path}: ${running.output}`);
}

/** QEMU's machine protocol: one JSON a line, one command at a time. */
class Monitor {
  #socket;
  #waiting = [];

  constructor(socket) {
    this.#socket = socket;
    createInterface({ input: socket }).on("line", (line) => {
      const message = JSON.parse(line);
      if ("return" in message) this.#waiting.shift()?.resolve(message.return);
      if ("error" in message) this.#waiting.shift()?.reject(new Error(message.error.desc));
    });
    socket.on("close", () => {
      for (const { reject } of this.#waiting.splice(0)) reject(new Error("QEMU has ended"));
    });
  }

  run(execute, parameters = {}) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#socket.write(`${JSON.stringify({ execute, arguments: parameters })}\n`);
    });
  }

  /** A command of the human monitor, which says something only when it fails. */
  async human(line) {
    const text = await this.run("human-monitor-command", { "command-line": line });
    if (text.trim() !== "") throw new Error(`${line}: ${text}`);
  }
}

/** One start of QEMU. `device` is tpm-tis or tpm-crb, `firmware` seabios or ovmf. */
export class QemuMachine {
  #kept = [];
  #listen = () => {};
  /** What the guest's console said. */
  log = "";

  /**
   * `folder` gets what the machine needs; each has a service of its own, with no state. `disk`: a qcow2 file, made when it is not there.
   * `incoming`: where a migration comes in. `loadvm`: the snapshot that it begins with. `control`: the control socket
   * of a service that runs already.
   */
  static async start({ folder, image, device, firmware = "seabios", disk, incoming, loadvm, control }) {
    const machine = new QemuMachine();
    try {
      mkdirSync(join(folder, "state"), { recursive: true });
      await machine.#start({ folder, image, device, firmware, disk, incoming, loadvm, control });
      return machine;
    } catch (error) {
      await machine.end();
      throw error;
    }
  }

  async #start({ folder, image, device, firmware, disk, incoming, loadvm, control }) {
    if (control === undefined) {
      control = join(folder, "control");
      const options = ["--ctrl", `type=unixio,path=${control}`, "--tpmstate", `dir=${join(folder, "state")}`];
      const tpm = this.#keep(start([process.execPath, ourCommand, "socket", "--tpm2", ...options]));
      (await connected(control, tpm)).destroy();
    }
    const at = (name) => join(folder, name);
    const args = [
      ...["-machine", "q35,accel=tcg", "-m", "256", "-nodefaults", "-no-user-config", "-display", "none"],
      ...["-chardev", `socket,id=tpm,path=${control}`, "-tpmdev", "emulator,id=tpm0,chardev=tpm"],
      ...["-device", `${device},tpmdev=tpm0`],
      ...["-kernel", image.kernel, "-initrd", image.initrd, "-append", commandLine],
      ...["-serial", `unix:${at("console")},server=on,wait=off`],
      ...["-serial", `unix:${at("agent")},server=on,wait=off`],
      ...["-qmp", `unix:${at("monitor")},server=on,wait=off`],
    ];
    if (firmware === "ovmf") {
      copyFileSync(ovmf.variables, at("variables"));
      args.push("-drive", `if=pflash,format=raw,readonly=on,file=${ovmf.code}`);
      args.push("-drive", `if=pflash,format=raw,file=${at("variables")}`);
    }
    if (disk !== undefined) {
      if (!existsSync(disk)) await run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "1M"]);
      args.push("-drive", `if=none,id=disk,format=qcow2,file=${disk}`);
    }
    if (incoming !== undefined) args.push("-incoming", `unix:${incoming}`);
    if (loadvm !== undefined) args.push("-loadvm", loadvm);
    const qemu = this.#keep(start(["qemu-system-x86_64", ...args]));
    this.qemu = qemu;
    const console = this.#socket(await connected(at("console"), qemu));
    console.on("data", (bytes) => {
      this.log += bytes.toString("latin1");
    });
    const agent = this.#socket(await connected(at("agent"), qemu));
    this.#listen = () => {
      this.agent = new GuestAgent((bytes) => agent.write(bytes));
    };
    this.#listen();
    agent.on("data", (bytes) => this.agent.receive(bytes));
    if (incoming !== undefined || loadvm !== undefined) this.agent.markReady();
    this.monitor = new Monitor(this.#socket(await connected(at("monitor"), qemu)));
    await this.monitor.run("qmp_capabilities");
    this.client = new TpmClient({ send: (command) => this.#transmit(command), close() {} });
  }

  #keep(resource) {
    this.#kept.unshift(resource);
    return resource;
  }

  #socket(socket) {
    this.#keep({ end: () => socket.destroy() });
    return socket;
  }

  async end() {
    for (const resource of this.#kept.splice(0)) await resource.end();
  }

  async ready(seconds = 100) {
    let timer;
    const late = new Promise((_, reject) => {
      const text = () =>
        `the guest is not there after ${seconds} s: ${this.qemu.output}${this.log.slice(-2000)}`;
      timer = setTimeout(() => reject(new Error(text())), seconds * 1000);
    });
    await Promise.race([this.agent.whenReady(), late]);
    clearTimeout(timer);
  }

  /** What a command in the guest's shell says. */
  async says(command, seconds = 60) {
    let text = "";
    let timer;
    const late = new Promise((_, reject) => {
      const fault = () =>
        new Error(`the guest says nothing more to: ${command}\n${this.qemu.output}${this.log.slice(-1000)}`);
      timer = setTimeout(() => reject(fault()), seconds * 1000);
    });
    const ended = this.agent.exec(command, (bytes) => {
      text += Buffer.from(bytes).toString("latin1");
    });
    await Promise.race([ended, late]);
    clearTimeout(timer);
    return text.trim();
  }

  /** A command to /dev/tpm0 in the guest. */
  async #transmit(command) {
    const text = Buffer.from(command).toString("base64");
    const said = await this.says(
      `exec 3<>/dev/tpm0; echo ${text} | base64 -d | dd bs=4096 count=1 2>/dev/null >&3; dd bs=4096 count=1 <&3 2>/dev/null | base64`,
    );
    return new Uint8Array(Buffer.from(said, "base64"));
  }

  async file(path) {
    return Buffer.from(await this.says(`base64 ${path}`), "base64");
  }

  /** Every PCR of a bank, by its number, in lower-case hexadecimal. */
  async pcrs(bank) {
    const text = await this.says(
      `cd /sys/class/tpm/tpm0/pcr-${bank} && for n in *; do echo $n $(cat $n); done`,
    );
    const lines = text.split("\n").map((line) => line.split(" "));
    return new Map(lines.map(([number, value]) => [Number(number), value?.toLowerCase()]));
  }

  /** The guest reboots, in good order: it says TPM2_Shutdown. Resolves when it is there again. */
  async reboot() {
    await this.says("(sleep 0.2; reboot -f) >/dev/null 2>&1 &");
    this.#listen();
    await this.ready();
  }

  /** Sends the machine to another one that waits for it at `address`. */
  async migrate(address) {
    await this.monitor.run("migrate", { uri: `unix:${address}` });
    for (let tries = 0; tries < 600; tries++) {
      const { status, "error-desc": reason } = await this.monitor.run("query-migrate");
      if (status === "completed") return;
      if (status === "failed" || status === "cancelled") throw new Error(`migration: ${status}, ${reason}`);
      await pause(50);
    }
    throw new Error("the migration does not end");
  }
}
