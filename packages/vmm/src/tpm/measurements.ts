import type { AcpiTables } from "@entresol/devices";
import { EventType } from "@entresol/evidence";
import type { CheckedConfig } from "../config.ts";
import { VERSION } from "../version.ts";

/*
 * What is measured before a guest's first instruction, and into which PCR. There is no firmware in the guest: the machine does what
 * firmware and boot loader of a PC would (TCG PC Client Platform Firmware Profile, PFP), and takes the loader's part as GRUB does, whose
 * PCRs and texts those who check Linux boots know.
 */

/** PCRs by what they hold: PFP 1.06, 3.3.4; GRUB manual, "Measured boot". */
export const pcrUse = {
  /** What the machine is. */
  firmware: 0,
  /** How it is set up. */
  configuration: 1,
  /** The code that the machine hands over to. */
  loadedCode: 4,
  /** Commands and command lines of the boot loader. */
  commandLines: 8,
  /** Files that the boot loader read. */
  files: 9,
} as const;
/** PCRs that a separator closes: 0 to 7 are the platform's. */
const lastPlatformPcr = 7;

/** One measurement: a PCR is extended by the digest of `measured`, and the log says `data`. */
export interface Measurement {
  readonly pcr: number;
  readonly type: number;
  readonly measured: Uint8Array;
  readonly data: Uint8Array;
}

type Boot = CheckedConfig["boot"];

const text = (value: string): Uint8Array => new Uint8Array(Buffer.from(value));

/** GRUB logs a text with its NUL, and measures it without. */
function commandLine(kind: "kernel_cmdline" | "module_cmdline", line: string): Measurement {
  return {
    pcr: pcrUse.commandLines,
    type: EventType.EV_IPL,
    measured: text(line),
    data: text(`${kind}: ${line}\0`),
  };
}

function code(what: string, bytes: Uint8Array): Measurement {
  return { pcr: pcrUse.loadedCode, type: EventType.EV_IPL, measured: bytes, data: text(`${what}\0`) };
}

function file(name: string, bytes: Uint8Array): Measurement {
  return { pcr: pcrUse.files, type: EventType.EV_IPL, measured: bytes, data: text(`${name}\0`) };
}

/** The boot loader's part. */
function loaded(boot: Boot): Measurement[] {
  switch (boot.kind) {
    case "linux":
      return [
        code("kernel", boot.kernel),
        file("kernel", boot.kernel),
        commandLine("kernel_cmdline", boot.commandLine),
        ...(boot.initrd === undefined ? [] : [file("initrd", boot.initrd)]),
      ];
    case "multiboot":
      return [
        code("kernel", boot.kernel),
        file("kernel", boot.kernel),
        commandLine("kernel_cmdline", boot.commandLine),
        ...boot.modules.flatMap((module, n) => [
          file(`module ${n}`, module.bytes),
          commandLine("module_cmdline", module.commandLine),
        ]),
      ];
    case "flat":
      return [code("image", boot.image), file("image", boot.image)];
    case "none":
      return [];
    default:
      return boot satisfies never;
  }
}

/** Everything that is measured for a boot, in order. The same machine and guest give the same. */
export function measurements(boot: Boot, acpi: AcpiTables): Measurement[] {
  const version = new Uint8Array(Buffer.from(`Entresol ${VERSION}\0`, "utf16le"));
  const separator = new Uint8Array(4);
  return [
    // PFP 3.3.4.1: the version of the root of trust, a string in UCS-2 with its NUL.
    { pcr: pcrUse.firmware, type: EventType.EV_S_CRTM_VERSION, measured: version, data: version },
    // The tables say how many processors and which devices there are. As OVMF does with tables that it is given.
    {
      pcr: pcrUse.configuration,
      type: EventType.EV_PLATFORM_CONFIG_FLAGS,
      measured: Buffer.concat(acpi.regions.map(({ bytes }) => bytes)),
      data: text("ACPI DATA\0"),
    },
    // PFP 3.3.2.2: from here on it is not the platform that measures. What an attacker extends later cannot look like its part.
    ...Array.from({ length: lastPlatformPcr + 1 }, (_, pcr) => ({
      pcr,
      type: EventType.EV_SEPARATOR,
      measured: separator,
      data: separator,
    })),
    ...loaded(boot),
  ];
}
