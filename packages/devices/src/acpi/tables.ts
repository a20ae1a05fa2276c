import { hex, Writer } from "@entresol/wire";
import { acpiWindowEnd, acpiWindowStart } from "../boot/memory-map.ts";
import {
  AcpiError,
  type AcpiHpet,
  type AcpiMachine,
  type AcpiPower,
  type AcpiTable,
  pcPower,
} from "./machine.ts";
import { buildMpTable, checksum } from "./mp-table.ts";
import { namespace } from "./namespace.ts";
import type { AcpiPci } from "./pci-namespace.ts";
import { tpm2Body } from "./tpm.ts";

/*
 * The ACPI tables of a PC: what tells the kernel about processors, interrupt routing, power and the devices that it cannot
 * probe. ACPI 6.5; the clause stands at each table.
 */

export interface AcpiTables {
  /** All of them, in ascending order, without overlap, between 0xE0000 and 0xF0000; above that the MP table of older systems. */
  readonly regions: readonly AcpiTable[];
  /** Address of the RSDP: for `acpi_rsdp_addr`, and where a kernel that scans finds it. */
  readonly rsdp: number;
  /** Memory beside the tables that an operating system leaves as it is: the event log of a TPM. For `pcMemoryMap`. */
  readonly kept?: { readonly gpa: number; readonly length: number };
}

const oemId = "ENTRSL";
const oemTableId = "ENTRESOL";
const creatorId = "ENTR";
const localApicAddress = 0xfee00000;
const ioApicAddress = 0xfec00000;
const headerSize = 36;

/** Builds the tables. The same machine gives the same bytes. Throws `AcpiError`. */
export function buildAcpiTables(machine: AcpiMachine): AcpiTables {
  const { processors } = machine;
  if (!Number.isInteger(processors) || processors < 1 || processors > 1024) {
    throw new AcpiError("bad-machine", `${processors} processors: 1 to 1024 can be described`);
  }
  const power = machine.power ?? pcPower;
  const regions: AcpiTable[] = [];
  // The RSDP comes first but points to what follows it: its place is known beforehand.
  const rsdpAt = acpiWindowStart;
  let next = rsdpAt + 64;
  const place = (signature: string, bytes: Uint8Array): number => {
    const gpa = next;
    // The FACS must lie on 64 bytes; the others need less.
    next = Math.ceil((gpa + bytes.length) / 64) * 64;
    if (next > acpiWindowEnd) {
      throw new AcpiError(
        "too-large",
        `the ${signature} of ${bytes.length} bytes does not fit below ${hex(acpiWindowEnd)}`,
      );
    }
    regions.push({ signature, gpa, bytes });
    return gpa;
  };
  const facsAt = place("FACS", facs());
  const dsdtAt = place("DSDT", table("DSDT", 2, namespace(machine, power)));
  const fadtAt = place("FACP", fadt(power, facsAt, dsdtAt));
  const madtAt = place("APIC", table("APIC", 5, madtBody(processors, power)));
  const listed = [fadtAt, madtAt];
  if (machine.pci !== undefined) listed.push(place("MCFG", table("MCFG", 1, mcfgBody(machine.pci))));
  if (machine.hpet !== undefined) listed.push(place("HPET", table("HPET", 1, hpetBody(machine.hpet))));
  if (machine.tpm !== undefined) listed.push(place("TPM2", table("TPM2", 4, tpm2Body(machine.tpm))));
  const addresses = new Writer();
  for (const gpa of listed) addresses.u64(gpa);
  const xsdtAt = place("XSDT", table("XSDT", 1, addresses.finish()));
  regions.unshift({ signature: "RSD PTR ", gpa: rsdpAt, bytes: rsdp(xsdtAt) });
  regions.push(...buildMpTable(machine));
  return { regions, rsdp: rsdpAt, ...(machine.tpm === undefined ? {} : { kept: machine.tpm.log }) };
}

/** 5.2.5.3: revision 2, so that the XSDT counts and there is no RSDT. */
function rsdp(xsdtAt: number): Uint8Array {
  const bytes = new Writer(36)
    .ascii("RSD PTR ")
    .u8(0)
    .ascii(oemId)
    .u8(2)
    .u32(0)
    .u32(36)
    .u64(xsdtAt)
    .u8(0)
    .zeros(3)
    .finish();
  // The first checksum covers what ACPI 1.0 knew, the second all of it.
  bytes[8] = checksum(bytes.subarray(0, 20));
  bytes[32] = checksum(bytes);
  return bytes;
}

/** 5.2.6: a table with the common header. */
function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const bytes = new Writer(headerSize + body.length)
    .ascii(signature)
    .u32(headerSize + body.length)
    .u8(revision)
    .u8(0)
    .ascii(oemId)
    .ascii(oemTableId)
    .u32(1)
    .ascii(creatorId)
    .u32(1)
    .bytes(body)
    .finish();
  bytes[9] = checksum(bytes);
  return bytes;
}

/** 5.2.10: holds the global lock, which kernels take even when no firmware shares it. */
function facs(): Uint8Array {
  return new Writer(64).ascii("FACS").u32(64).zeros(24).u8(2).zeros(31).finish();
}

/** 5.2.9, table 5.9: IAPC_BOOT_ARCH. */
const bootArchitecture = {
  legacyDevices: 1 << 0,
  keyboardController: 1 << 1,
  noVga: 1 << 2,
  noCmosRtc: 1 << 5,
} as const;

/** 5.2.9, table 5.10: fixed feature flags. */
const feature = {
  wbinvd: 1 << 0,
  c1OnAllProcessors: 1 << 2,
  noFixedRtcWake: 1 << 6,
  timer32Bit: 1 << 8,
  resetRegister: 1 << 10,
} as const;

/** 5.2.3.2: a register at an I/O port. Access size: 1 byte, 2 word, 3 doubleword. */
function portRegister(writer: Writer, port: number, bits: number, accessSize: number): void {
  writer.u8(1).u8(bits).u8(0).u8(accessSize).u64(port);
}

/** 5.2.9: revision 6.5. The 64-bit fields repeat what the 32-bit ones say, for kernels that read only those. */
function fadt(power: AcpiPower, facsAt: number, dsdtAt: number): Uint8Array {
  const body = new Writer(276 - headerSize);
  const pm1EventLength = 4;
  const pm1ControlLength = 2;
  const pmTimerLength = 4;
  body.u32(facsAt).u32(dsdtAt);
  body.u8(0); // reserved
  body.u8(1); // preferred power management profile: desktop
  body.u16(power.sci);
  // No SMI command port: the machine is in ACPI mode from the start.
  body.u32(0).zeros(4);
  body.u32(power.pm1Event).u32(0).u32(power.pm1Control).u32(0);
  body.u32(0).u32(power.pmTimer).u32(power.gpe0).u32(0);
  body.u8(pm1EventLength).u8(pm1ControlLength).u8(0).u8(pmTimerLength).u8(power.gpe0Length);
  body.u8(0).u8(0).u8(0); // GPE1 length and base, C-state control
  // Latencies above 100 and 1000 microseconds: no C2, no C3.
  body.u16(101).u16(1001);
  body.u16(0).u16(0); // cache flush size and stride: WBINVD does it
  body.u8(0).u8(0); // duty cycle: no clock throttling
  // CMOS indices of the day alarm and the month alarm (none) and of the century.
  body.u8(0).u8(0).u8(0x32);
  // An interrupt at all costs of a keyboard controller that is not there takes Linux seconds to find out.
  body.u16(bootArchitecture.legacyDevices | bootArchitecture.noVga);
  body.u8(0);
  body.u32(
    feature.wbinvd |
      feature.c1OnAllProcessors |
      feature.noFixedRtcWake |
      feature.timer32Bit |
      feature.resetRegister,
  );
  portRegister(body, power.resetPort, 8, 1);
  body.u8(power.resetValue);
  body.u16(0); // Arm boot flags
  body.u8(5); // minor version
  // The FACS is given once: its 64-bit field must be zero when the 32-bit one is not.
  body.u64(0).u64(dsdtAt);
  portRegister(body, power.pm1Event, pm1EventLength * 8, 2);
  body.zeros(12);
  portRegister(body, power.pm1Control, pm1ControlLength * 8, 2);
  body.zeros(12).zeros(12);
  portRegister(body, power.pmTimer, pmTimerLength * 8, 3);
  portRegister(body, power.gpe0, power.gpe0Length * 8, 1);
  body.zeros(12);
  body.zeros(12).zeros(12); // sleep control and status: hardware-reduced machines only
  body.ascii(oemTableId); // hypervisor vendor
  return table("FACP", 6, body.finish());
}

/** 5.2.12: the interrupt controllers. */
function madtBody(processors: number, power: AcpiPower): Uint8Array {
  const body = new Writer();
  const pcAtCompatible = 1;
  body.u32(localApicAddress).u32(pcAtCompatible);
  const enabled = 1;
  let extended = false;
  for (let id = 0; id < processors; id++) {
    // 5.2.12.2 and 5.2.12.12: an 8-bit id where it fits; 255 is the broadcast.
    if (id < 255) {
      body.u8(0).u8(8).u8(id).u8(id).u32(enabled);
    } else {
      body.u8(9).u8(16).u16(0).u32(id).u32(enabled).u32(id);
      extended = true;
    }
  }
  body.u8(1).u8(12).u8(0).u8(0).u32(ioApicAddress).u32(0);
  // 5.2.12.5: the timer, as ever, sits on pin 2; the SCI is level triggered (0b11 << 2) and active high (0b01).
  body.u8(2).u8(10).u8(0).u8(0).u32(2).u16(0);
  body.u8(2).u8(10).u8(0).u8(power.sci).u32(power.sci).u16(0b1101);
  // 5.2.12.7: LINT1 of all processors is NMI.
  body.u8(4).u8(6).u8(0xff).u16(0).u8(1);
  if (extended) body.u8(10).u8(12).u16(0).u32(0xffffffff).u8(1).zeros(3);
  return body.finish();
}

/** PCI Firmware Specification 3.3, 4.1.2: where the configuration space of segment 0 is mapped. */
function mcfgBody({ ecamBase, lastBus }: AcpiPci): Uint8Array {
  return new Writer().zeros(8).u64(ecamBase).u16(0).u8(0).u8(lastBus).zeros(4).finish();
}

/** IA-PC HPET 1.0a, 3.2.4. */
function hpetBody({ base, capabilities, minimumTick }: AcpiHpet): Uint8Array {
  const body = new Writer().u32(capabilities);
  body.u8(0).u8(64).u8(0).u8(0).u64(base); // in memory, registers of 64 bits
  // No other HPET; pages of 4 KiB hold nothing else, so that a process may map them.
  const wholePage = 1;
  return body.u8(0).u16(minimumTick).u8(wholePage).finish();
}
