import { readFileSync } from "node:fs";
import type { VmConfig } from "../config.ts";
import { ensureGuest, GuestImageError, guestReleases } from "../guest/index.ts";
import { type BootOptions, TEST_GUEST } from "./boot-options.ts";
import { CommandError, EXIT_FAILURE } from "./exit-status.ts";
import { showProgress } from "./progress.ts";

/**
 * Close to stock. console and panic: what an unattended serial machine wants. cryptomgr.notests: without it the kernel tests
 * its ciphers, which is two thirds of a boot. Timers, calibration and KASLR are as they come.
 */
export const DEFAULT_COMMAND_LINE = "console=ttyS0 panic=-1 cryptomgr.notests";

/** A guest that was chosen and is at hand. */
export interface ChosenGuest {
  readonly boot: VmConfig["boot"];
  /** For people: "Debian 12 (bookworm), kernel 6.1.0-50-cloud-amd64". */
  readonly title: string;
  readonly name: string;
  readonly kernelVersion: string | undefined;
  /** Its init serves the control channel, so that commands can be run and the prompt is known to be there. */
  readonly agent: boolean;
}

async function testGuest(): Promise<ChosenGuest> {
  // The assembler is large, and most starts do not need it.
  const { buildTestGuest } = await import("@entresol/testguest");
  const { image, loadAddress, entry } = buildTestGuest();
  return {
    boot: { kind: "flat", image, loadAddress, entry },
    title: "built-in test guest",
    name: TEST_GUEST,
    kernelVersion: undefined,
    agent: false,
  };
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
  if (name === TEST_GUEST) return testGuest();
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
