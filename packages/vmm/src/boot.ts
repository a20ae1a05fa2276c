import {
  type AcpiTables,
  type EntryState,
  enter,
  entryTables,
  linuxEntryState,
  loadLinux,
  loadMultiboot,
} from "@entresol/devices";
import { asGpa } from "@entresol/hypervisor";
import { type CheckedConfig, VmError } from "./config.ts";
import type { Hardware } from "./hardware.ts";

/** The state in which a flat image is entered: Linux's 64-bit entry, with RSI at the ACPI root pointer instead of boot parameters. */
function flatEntry(entry: number, rsdp: number): EntryState {
  const state = linuxEntryState(entry);
  return { ...state, general: { ...state.general, rsi: BigInt(rsdp) } };
}

/**
 * Writes the guest into RAM and sets vCPU 0 to enter it. Throws `BootError` for a kernel that cannot be loaded, `VmError`
 * `bad-config` for a flat image that does not fit.
 */
export function loadGuest(hardware: Hardware, boot: CheckedConfig["boot"]): void {
  const { partition, chipset, tpm } = hardware;
  const { memory } = partition;
  const acpi = chipset.acpiTables();
  place(hardware, boot, acpi);
  // Only a guest that is there has something to be measured.
  if (tpm === undefined || boot.kind === "none") return;
  const log = tpm.measureBoot(boot, acpi);
  memory.write(asGpa(log.gpa), log.bytes);
}

function place({ partition }: Hardware, boot: CheckedConfig["boot"], acpi: AcpiTables): void {
  const { memory } = partition;
  switch (boot.kind) {
    case "linux": {
      const image = loadLinux({
        kernel: boot.kernel,
        ...(boot.initrd === undefined ? {} : { initrd: boot.initrd }),
        commandLine: boot.commandLine,
        memorySize: memory.size,
        acpi,
      });
      for (const { gpa, bytes } of image.image) memory.write(asGpa(gpa), bytes);
      enter(partition.vcpus[0]!.registers, image.registers);
      return;
    }
    case "multiboot": {
      const { kernel, commandLine, modules } = boot;
      const image = loadMultiboot({ kernel, commandLine, modules, memorySize: memory.size, acpi });
      for (const { gpa, bytes } of image.image) memory.write(asGpa(gpa), bytes);
      enter(partition.vcpus[0]!.registers, image.registers);
      return;
    }
    case "flat":
      if (boot.loadAddress + boot.image.length > memory.size) {
        throw new VmError(
          "bad-config",
          `boot.image: ${boot.image.length} bytes at ${boot.loadAddress} do not fit ${memory.size} bytes of RAM`,
        );
      }
      for (const { gpa, bytes } of [...entryTables(), ...acpi.regions]) memory.write(asGpa(gpa), bytes);
      memory.write(asGpa(boot.loadAddress), boot.image);
      enter(partition.vcpus[0]!.registers, flatEntry(boot.entry, acpi.rsdp));
      return;
    case "none":
      return;
    default:
      boot satisfies never;
  }
}
