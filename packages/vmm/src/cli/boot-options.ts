import { Command, InvalidArgumentError, Option } from "commander";
import { parseSize } from "../config.ts";
import { guestReleases } from "../guest/index.ts";
import { CommandError, EXIT_FAILURE, EXIT_NO_RESULT, EXIT_USAGE } from "./exit-status.ts";
import { type SerialBootOptions, serialOptions } from "./serial-options.ts";

export const TEST_GUEST = "test";
/** What `--check` takes instead of a name to show the names. */
export const LIST_CHECKS = "list";
export const guestNames: readonly string[] = [...guestReleases.map(({ name }) => name), TEST_GUEST];

/** What `entresol boot` was asked for. */
export interface BootOptions extends SerialBootOptions {
  backend: "software" | "auto";
  guest?: string;
  check?: string;
  kernel?: string;
  multiboot?: string;
  initrd?: string;
  module?: readonly string[];
  append?: string;
  testDevice?: boolean;
  x2apic?: boolean;
  cmdline?: string;
  memory: number;
  cpus: number;
  exec?: string;
  snapshot?: string;
  resume?: string;
  cold?: boolean;
  realTime?: boolean;
  tpm?: "crb" | "tis" | "none";
  tpmState?: string;
  timeout?: number;
  json?: boolean;
}

function size(text: string): number {
  const value = parseSize(text);
  if (value === undefined) throw new InvalidArgumentError("It must be a size such as 256M or 1G.");
  if (value % 4096 !== 0) throw new InvalidArgumentError("It must be a multiple of 4096 bytes.");
  return value;
}

function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("It must be a whole number.");
  return Number(text);
}

function positiveSeconds(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value <= 0)
    throw new InvalidArgumentError("It must be a number of seconds above 0.");
  return value;
}

/** The command with its options; `action` is added by the caller. */
export function bootOptions(): Command {
  const command = new Command("boot")
    .description("Boots a guest: with a terminal its serial console, without one a short tour.")
    .addOption(
      new Option("--backend <name>", "what runs the guest").choices(["software", "auto"]).default("auto"),
    )
    .addOption(new Option("--guest <name>", `the guest (default: ${guestNames[0]})`).choices(guestNames))
    .option(
      "--check <name>",
      'with --guest test: run this one of its checks alone; "list" shows them, with the rule that each proves',
    )
    .option("--kernel <file>", "boot this bzImage or ELF vmlinux instead")
    .option(
      "--multiboot <file>",
      "boot this multiboot 1 kernel instead: its console is stdout, and nothing else is",
    )
    .option("--initrd <file>", "with --kernel: its initramfs; with --multiboot: its first module")
    .option(
      "--module <file>",
      "with --multiboot: one more module; behind a space its arguments (repeatable)",
      (text: string, previous: readonly string[] = []) => [...previous, text],
    )
    .option("--cmdline <text>", "kernel command line")
    .option("--append <text>", "with --multiboot: the kernel's arguments, behind its file name")
    .option(
      "--test-device",
      "with --multiboot, --kernel or --guest test: what test kernels for QEMU expect (isa-debug-exit, pc-testdev, fw_cfg)",
    )
    .option("--memory <size>", "RAM, for example 256M or 1G", size, 256 * 2 ** 20)
    .option("--cpus <n>", "processors, 1 to 16", wholeNumber, 1)
    .option("--no-x2apic", "local APICs without x2APIC mode")
    .addOption(
      new Option(
        "--tpm <interface>",
        "a TPM 2.0, which measures what is booted (default: crb for Debian guests, none for others)",
      ).choices(["crb", "tis", "none"]),
    )
    .option("--tpm-state <folder>", "where the TPM stays between runs (default: it goes with the machine)")
    .option("--exec <command>", "run this in the guest's shell, print its output, exit with its status")
    .option("--snapshot <file>", "where a snapshot is written: at the prompt, and by Ctrl-A s")
    .option("--resume <file>", "go on from a snapshot (same --memory, --cpus)")
    .option("--cold", "boot from the start even if a snapshot at the prompt is cached")
    .option(
      "--real-time",
      "guest time follows the wall clock (default: 1 ns an instruction, idle time skipped)",
    )
    .option(
      "--timeout <seconds>",
      "give up after this time (default: 300 to reach the prompt, none after it)",
      positiveSeconds,
    )
    .option("--json", "print one JSON object with the figures of the run")
    .addHelpText(
      "after",
      `
Keys of the console: Ctrl-A x leaves, Ctrl-A s writes a snapshot, Ctrl-A i inspects, Ctrl-A a sends Ctrl-A.
Exit status: 0, or the status of the --exec command; 1 when the guest or machine failed, or a check of the test guest did;
2 for a wrong command line.
With --test-device: (value << 1 | 1) & 255 for the value that the guest wrote to port 0xF4; 0 when it powered off, 4 when it
ended otherwise or could not be started.

Examples:
  entresol boot
  entresol boot --guest debian13 --cpus 4
  entresol boot --exec "cat /proc/interrupts"
  entresol boot --tpm-state ~/tpm --exec "grep . /sys/class/tpm/tpm0/pcr-sha256/?"
  entresol boot --kernel bzImage --initrd initrd.img --cmdline "console=ttyS0 panic=-1"
  entresol boot --guest test --json
  entresol boot --guest test --check list
  entresol boot --guest test --check ioapic-remote-irr --cpus 2
  entresol boot --multiboot apic.flat --append "smp=2" --cpus 2 --test-device --timeout 60
`,
    );
  for (const option of serialOptions()) command.addOption(option);
  return command;
}

/** The TPM that a guest has when the options do not say: those that are known to use one have it. */
export function usualTpm({ kernel, multiboot, guest }: BootOptions): "crb" | "none" {
  return kernel === undefined && multiboot === undefined && guest !== TEST_GUEST ? "crb" : "none";
}

/** Of a snapshot nobody knows before it is read. */
function mayHaveTpm(options: BootOptions): boolean {
  return options.resume !== undefined || (options.tpm ?? usualTpm(options)) !== "none";
}

/** What a failure ends the command with. */
export function failureStatus(options: BootOptions): number {
  return options.testDevice === true ? EXIT_NO_RESULT : EXIT_FAILURE;
}

/** Refuses options that do not go together. Throws `CommandError` with status 2. */
export function checkBootOptions(options: BootOptions): void {
  const refuse = (message: string): never => {
    throw new CommandError(EXIT_USAGE, message);
  };
  const { kernel, multiboot, guest } = options;
  if (kernel !== undefined && guest !== undefined) refuse("--kernel and --guest exclude each other");
  if (multiboot !== undefined && kernel !== undefined) refuse("--multiboot and --kernel exclude each other");
  if (multiboot !== undefined && guest !== undefined) refuse("--multiboot and --guest exclude each other");
  if (options.check !== undefined && guest !== TEST_GUEST) refuse("--check goes with --guest test");
  if (options.initrd !== undefined && kernel === undefined && multiboot === undefined)
    refuse("--initrd goes with --kernel or --multiboot");
  if (options.module !== undefined && multiboot === undefined) refuse("--module goes with --multiboot");
  if (options.append !== undefined && multiboot === undefined) refuse("--append goes with --multiboot");
  if (options.cmdline !== undefined && multiboot !== undefined)
    refuse("--cmdline is for Linux guests: --append gives a --multiboot kernel its arguments");
  if (options.exec !== undefined && multiboot !== undefined)
    refuse("--exec needs a guest with a shell, not --multiboot");
  if (
    options.testDevice === true &&
    multiboot === undefined &&
    kernel === undefined &&
    guest !== TEST_GUEST &&
    options.resume === undefined
  )
    refuse("--test-device goes with --multiboot, --kernel, --guest test or --resume");
  if (options.cmdline !== undefined && options.guest === TEST_GUEST)
    refuse("--cmdline is for Linux guests, not for --guest test");
  if (options.tpmState !== undefined && options.tpm === "none")
    refuse("--tpm-state goes with a TPM, not with --tpm none");
  if (options.tpmState !== undefined && !mayHaveTpm(options))
    refuse("--tpm-state goes with --tpm crb or --tpm tis for this guest");
  if (options.exec !== undefined && options.guest === TEST_GUEST)
    refuse("--exec needs a guest with a shell, not --guest test");
  if (options.resume !== undefined) {
    for (const [name, value] of [
      ["--kernel", kernel],
      ["--multiboot", multiboot],
      ["--guest", guest],
      ["--cmdline", options.cmdline],
      ["--cold", options.cold],
    ]) {
      if (value !== undefined) refuse(`--resume and ${name} exclude each other: the snapshot decides`);
    }
  }
}
