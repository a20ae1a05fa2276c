import { readFileSync } from "node:fs";
import { TestFunction } from "@entresol/devices";
import type { VmConfig } from "../config.ts";
import { ensureGuest, GuestImageError, guestReleases } from "../guest/index.ts";
import { type BootOptions, LIST_CHECKS, TEST_GUEST } from "./boot-options.ts";
import { CommandError, EXIT_FAILURE, EXIT_USAGE } from "./exit-status.ts";
import { showProgress } from "./progress.ts";

/**
 * Close to stock. console and panic: what an unattended serial machine wants. cryptomgr.notests: without it the kernel tests
 * its ciphers, which is two thirds of a boot. Timers, calibration and KASLR are as they come.
 */
export const DEFAULT_COMMAND_LINE = "console=ttyS0 panic=-1 cryptomgr.notests";

export type MachineExtras = Pick<VmConfig, "testDevice" | "devices">;

/** The built-in test guest's machine: interrupt lines that it can move, and a PCI function that interrupts when it is told to. */
export const testMachine: MachineExtras = {
  testDevice: true,
  devices: [
    ({ pci, time }) => {
      pci.attach(new TestFunction({ timebase: time, integrated: true }), { device: 3 });
      return undefined;
    },
  ],
};

/** The checks of the built-in test guest, for people: a line each, name and rule, under the name of their group. */
export async function describeChecks(): Promise<string> {
  const { listChecks } = await import("@entresol/testguest");
  const checks = listChecks();
  const width = Math.max(...checks.map(({ name }) => name.length));
  return checks
    .map(({ name, rule, clause, group }, i) => {
      const heading = group === checks[i - 1]?.group ? "" : `${i === 0 ? "" : "\n"}${group}\n`;
      return `${heading}  ${name.padEnd(width)}  ${rule} (${clause})\n`;
    })
    .join("");
}

/** A guest that was chosen and is at hand. */
export interface ChosenGuest {
  readonly boot: VmConfig["boot"];
  /** What the machine has beside the usual for this guest's sake. */
  readonly extras?: MachineExtras;
  /** For people: "Debian 12 (bookworm), kernel 6.1.0-50-cloud-amd64". */
  readonly title: string;
  readonly name: string;
  readonly kernelVersion: string | undefined;
  /** Its init serves the control channel, so that commands can be run and the prompt is known to be there. */
  readonly agent: boolean;
}

async function testGuest(check?: string): Promise<ChosenGuest> {
  // The assembler is large, and most starts do not need it.
  const { AssemblerError, buildTestGuest } = await import("@entresol/testguest");
  try {
    const { image, loadAddress, entry } = buildTestGuest(check === undefined ? {} : { only: check });
    return {
      boot: { kind: "flat", image, loadAddress, entry },
      extras: testMachine,
      title: "built-in test guest",
      name: TEST_GUEST,
      kernelVersion: undefined,
      agent: false,
    };
  } catch (error) {
    if (error instanceof AssemblerError && error.code === "no-such-check")
      throw new CommandError(EXIT_USAGE, `${error.message}: --check ${LIST_CHECKS} shows those it has`);
    throw error;
  }
}

/** As with QEMU, the command line begins with the file's name, and a module's command line is what was given for it. */
function multibootKernel(file: string, { initrd, module, append }: BootOptions): ChosenGuest {
  const modules = [
    ...(initrd === undefined ? [] : [{ bytes: readFileSync(initrd), commandLine: initrd }]),
    ...(module ?? []).map((text) => ({ bytes: readFileSync(text.split(" ", 1)[0]!), commandLine: text })),
  ];
  return {
    boot: {
      kind: "multiboot",
      kernel: readFileSync(file),
      commandLine: append === undefined ? file : `${file} ${append}`,
      modules,
    },
    title: file,
    name: file,
    kernelVersion: undefined,
    agent: false,
  };
}

/** Gets the guest that the options name, from the cache, the network, or, when neither has it, the built-in test guest. */
export async function chooseGuest(options: BootOptions): Promise<ChosenGuest> {
  const commandLine = options.cmdline ?? DEFAULT_COMMAND_LINE;
  if (options.multiboot !== undefined) return multibootKernel(options.multiboot, options);
  if (options.kernel !== undefined) {
    const kernel = readFileSync(options.kernel);
    const initrd = options.initrd === undefined ? undefined : readFileSync(options.initrd);
    return {
      boot: { kind: "linux", kernel, ...(initrd === undefined ? {} : { initrd }), commandLine },
      title: options.kernel,
      name: options.kernel,
      kernelVersion: undefined,
      agent: options.exec !== undefined,
    };
  }
  const name = options.guest ?? guestReleases[0]!.name;
  if (name === TEST_GUEST) return testGuest(options.check);
  const shown = showProgress();
  try {
    const image = await ensureGuest(name, { progress: shown.progress });
    return {
      boot: {
        kind: "linux",
        kernel: readFileSync(image.kernel),
        initrd: readFileSync(image.initrd),
        commandLine,
      },
      title: `${guestReleases.find((release) => release.name === name)!.title}, kernel ${image.kernelVersion}`,
      name,
      kernelVersion: image.kernelVersion,
      agent: true,
    };
  } catch (error) {
    shown.end();
    if (!(error instanceof GuestImageError)) throw error;
    if (error.code === "corrupted-cache") {
      throw new CommandError(EXIT_FAILURE, `${error.message} (entresol guest fetch ${name} --force)`);
    }
    if (options.exec !== undefined)
      throw new CommandError(
        EXIT_FAILURE,
        `${error.message}; the built-in test guest has no shell for --exec`,
      );
    process.stderr.write(`entresol: ${error.message}; booting the built-in test guest instead\n`);
    return testGuest();
  } finally {
    shown.end();
  }
}
