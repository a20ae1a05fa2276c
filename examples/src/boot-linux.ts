// Boots Debian, asks it a question, and powers it off: node examples/dist/boot-linux.js [command]
import { readFileSync } from "node:fs";
import { ensureGuest, GuestAgent, Vm } from "@entresol/vmm";

/** Boots `release`, runs `command` in its shell and gives what it printed. */
export async function bootLinux(
  release: string,
  command: string,
): Promise<{ output: string; status: number; stop: string }> {
  const guest = await ensureGuest(release);
  await using vm = await Vm.create({
    memory: 256 * 2 ** 20,
    boot: {
      kind: "linux",
      kernel: readFileSync(guest.kernel),
      initrd: readFileSync(guest.initrd),
      commandLine: "console=ttyS0 quiet panic=-1 cryptomgr.notests",
    },
  });
  const [console_, control] = vm.serial;
  console_!.onOutput = () => {}; // the kernel's messages
  const agent = new GuestAgent((bytes) => control!.send(bytes));
  control!.onOutput = (bytes) => agent.receive(bytes);

  const running = vm.run();
  await agent.whenReady();
  let output = "";
  const { status } = await agent.exec(command, (bytes) => {
    output += Buffer.from(bytes).toString("utf8");
  });
  agent.powerOff();
  return { output, status, stop: (await running).kind };
}

if (process.argv[1]?.endsWith("boot-linux.js")) {
  const { output, status } = await bootLinux("debian12", process.argv[2] ?? "uname -a; cat /proc/interrupts");
  process.stdout.write(output);
  process.exitCode = status;
}
