import type { CpuidResult } from "@entresol/hypervisor";

/**
 * CPUID as the guest sees it: one table, with the reason for each feature. What the table does not name reads as zero, and a
 * feature is named only when the processor below has it, so that no guest finds a promise that is not kept.
 */
export interface CpuidMachine {
  /** Number of processors, 1 to 16; their APIC ids are 0 to n - 1. */
  readonly processors: number;
  readonly physicalAddressBits: number;
  readonly linearAddressBits: number;
  /** The local APICs have x2APIC mode; default true. */
  readonly x2apic?: boolean;
}

interface Feature {
  readonly bit: number;
  readonly name: string;
  readonly why: string;
}

/** Leaf 1 EDX, and, but for the bits that `extendedOnly` adds, 0x80000001 EDX. */
export const featuresLeaf1Edx: readonly Feature[] = [
  { bit: 0, name: "FPU", why: "x87 with 80-bit registers" },
  { bit: 2, name: "DE", why: "I/O breakpoints and DR4/DR5 faults" },
  { bit: 3, name: "PSE", why: "4 MiB pages outside PAE" },
  { bit: 4, name: "TSC", why: "1 GHz of virtual time" },
  { bit: 5, name: "MSR", why: "RDMSR, WRMSR" },
  { bit: 6, name: "PAE", why: "needed for long mode" },
  { bit: 8, name: "CX8", why: "CMPXCHG8B" },
  { bit: 9, name: "APIC", why: "a local APIC per processor" },
  { bit: 11, name: "SEP", why: "SYSENTER for 32-bit code" },
  { bit: 12, name: "MTRR", why: "kernels read the memory types; they have no effect here" },
  { bit: 13, name: "PGE", why: "global pages; a flush takes them too, which is allowed" },
  { bit: 15, name: "CMOV", why: "part of the x86-64 baseline" },
  { bit: 16, name: "PAT", why: "kept for the guest; without effect" },
  { bit: 17, name: "PSE36", why: "physical addresses above 4 GiB in 4 MiB pages" },
  { bit: 19, name: "CLFSH", why: "CLFLUSH, without effect: there is no cache" },
  { bit: 23, name: "MMX", why: "part of the x86-64 baseline" },
  { bit: 24, name: "FXSR", why: "FXSAVE, FXRSTOR" },
  { bit: 25, name: "SSE", why: "part of the x86-64 baseline" },
  { bit: 26, name: "SSE2", why: "part of the x86-64 baseline" },
];

export const featuresLeaf1Ecx: readonly Feature[] = [
  { bit: 13, name: "CX16", why: "CMPXCHG16B" },
  { bit: 21, name: "X2APIC", why: "MSR access to the local APIC; cheaper exits than MMIO" },
  { bit: 23, name: "POPCNT", why: "kernels patch it in" },
  { bit: 24, name: "TSC-deadline", why: "the local APIC timer's cheapest mode" },
  {
    bit: 30,
    name: "RDRAND",
    why: "seeds the guest's random pool; from the partition's seed, not secret from the host",
  },
  { bit: 31, name: "hypervisor", why: "guests must know that time may jump" },
];

export const featuresLeaf7Ebx: readonly Feature[] = [
  { bit: 0, name: "FSGSBASE", why: "user-mode FS and GS bases" },
  { bit: 7, name: "SMEP", why: "checked in the page walk" },
  { bit: 18, name: "RDSEED", why: "as RDRAND" },
  { bit: 20, name: "SMAP", why: "checked in the page walk" },
];

export const featuresLeaf7Ecx: readonly Feature[] = [
  { bit: 2, name: "UMIP", why: "SGDT and its kin fault in user mode" },
];

export const featuresExtendedEdx: readonly Feature[] = [
  { bit: 11, name: "SYSCALL", why: "SYSCALL, SYSRET" },
  { bit: 20, name: "NX", why: "no-execute pages" },
  { bit: 27, name: "RDTSCP", why: "TSC with TSC_AUX" },
  { bit: 29, name: "LM", why: "64-bit mode" },
];

/** Leaf 0x80000021: what a processor that does not speculate is safe from, so that kernels neither warn nor pay for it. */
export const featuresLeaf80000021Eax: readonly Feature[] = [
  { bit: 0, name: "NoNestedDataBp", why: "a data breakpoint does not hit inside another one's handler" },
  { bit: 2, name: "LfenceAlwaysSerializing", why: "nothing runs ahead" },
  { bit: 29, name: "SRSO_NO", why: "no return stack to poison" },
];
export const featuresLeaf80000021Ecx: readonly Feature[] = [
  { bit: 1, name: "TSA_SQ_NO", why: "no store queue to leak" },
  { bit: 2, name: "TSA_L1_NO", why: "no L1 cache to leak" },
];

/** Leaf 0x80000008 EBX. */
export const featuresLeaf80000008Ebx: readonly Feature[] = [
  { bit: 26, name: "SSB_NO", why: "loads never run ahead of stores: no speculative store bypass" },
];

export const featuresExtendedEcx: readonly Feature[] = [
  { bit: 0, name: "LAHF", why: "LAHF and SAHF in 64-bit mode" },
];

const mask = (features: readonly Feature[]): number =>
  features.reduce((bits, { bit }) => (bits | (1 << bit)) >>> 0, 0);

const leaf1Edx = mask(featuresLeaf1Edx);
const leaf1Ecx = mask(featuresLeaf1Ecx);
const leaf7Ebx = mask(featuresLeaf7Ebx);
const leaf7Ecx = mask(featuresLeaf7Ecx);
const leaf80000008Ebx = mask(featuresLeaf80000008Ebx);
const leaf80000021Eax = mask(featuresLeaf80000021Eax);
const leaf80000021Ecx = mask(featuresLeaf80000021Ecx);
const extendedEcx = mask(featuresExtendedEcx);
/** AMD repeats most of leaf 1 EDX here (APM volume 3, E.4.2): all but SEP and the SSE bits. */
const repeated = (bit: number): boolean => bit !== 11 && bit !== 25 && bit !== 26 && bit !== 19;
const extendedEdx =
  (mask(featuresLeaf1Edx.filter(({ bit }) => repeated(bit))) | mask(featuresExtendedEdx)) >>> 0;

/** Family 0x19, model 1, stepping 1: the generation that has SEV-SNP. */
export const SIGNATURE = 0x00a00f11;
const MAXIMUM_BASIC_LEAF = 0xb;
const MAXIMUM_EXTENDED_LEAF = 0x80000021;

const ascii = (text: string): number[] => {
  const words: number[] = [];
  for (let i = 0; i < text.length; i += 4) {
    words.push(
      ((text.charCodeAt(i) | (text.charCodeAt(i + 1) << 8) | (text.charCodeAt(i + 2) << 16)) >>> 0) +
        text.charCodeAt(i + 3) * 0x1000000,
    );
  }
  return words;
};
const vendor = ascii("AuthenticAMD");
export const HYPERVISOR_VENDOR = "Entresol/1.0";
const hypervisorVendor = ascii(HYPERVISOR_VENDOR);
const brand = ascii("Entresol software processor".padEnd(48, "\0"));

function set(out: CpuidResult, eax: number, ebx: number, ecx: number, edx: number): void {
  out.eax = eax;
  out.ebx = ebx;
  out.ecx = ecx;
  out.edx = edx;
}

/** CPUID.1:ECX.X2APIC. */
const x2apicBit = 1 << 21;

/** Answers CPUID for processor `apicId`. Leaves that are not listed give zeros, as AMD processors do (APM volume 3, appendix E). */
export function answerCpuid(
  machine: CpuidMachine,
  apicId: number,
  leaf: number,
  subleaf: number,
  out: CpuidResult,
): void {
  const processors = machine.processors;
  set(out, 0, 0, 0, 0);
  const coreBits = Math.ceil(Math.log2(processors));
  switch (leaf >>> 0) {
    case 0:
      set(out, MAXIMUM_BASIC_LEAF, vendor[0]!, vendor[2]!, vendor[1]!);
      break;
    case 1: {
      // EBX: APIC id, logical processor count, CLFLUSH line of 8 quadwords.
      const htt = processors > 1 ? 1 << 28 : 0;
      set(
        out,
        SIGNATURE,
        ((apicId << 24) | (processors << 16) | (8 << 8)) >>> 0,
        machine.x2apic === false ? (leaf1Ecx & ~x2apicBit) >>> 0 : leaf1Ecx,
        (leaf1Edx | htt) >>> 0,
      );
      break;
    }
    case 7:
      if (subleaf === 0) set(out, 0, leaf7Ebx, leaf7Ecx, 0);
      break;
    case 0xb:
      // Extended topology: one thread per core, all cores in one package.
      if (subleaf === 0) set(out, 0, 1, 0x100, apicId);
      else if (subleaf === 1) set(out, coreBits, processors, 0x201, apicId);
      else set(out, 0, 0, subleaf & 0xff, apicId);
      break;
    case 0x40000000:
      set(out, 0x40000000, hypervisorVendor[0]!, hypervisorVendor[1]!, hypervisorVendor[2]!);
      break;
    case 0x80000000:
      set(out, MAXIMUM_EXTENDED_LEAF, vendor[0]!, vendor[2]!, vendor[1]!);
      break;
    case 0x80000001:
      set(out, SIGNATURE, 0, extendedEcx | (processors > 1 ? 2 : 0), extendedEdx);
      break;
    case 0x80000002:
    case 0x80000003:
    case 0x80000004: {
      const at = ((leaf >>> 0) - 0x80000002) * 4;
      set(out, brand[at]!, brand[at + 1]!, brand[at + 2]!, brand[at + 3]!);
      break;
    }
    case 0x80000007:
      // Invariant TSC.
      set(out, 0, 0, 0, 1 << 8);
      break;
    case 0x80000008:
      set(
        out,
        machine.physicalAddressBits | (machine.linearAddressBits << 8),
        leaf80000008Ebx,
        (coreBits << 12) | (processors - 1),
        0,
      );
      break;
    case 0x80000021:
      set(out, leaf80000021Eax, 0, leaf80000021Ecx, 0);
      break;
    default:
      break;
  }
}
