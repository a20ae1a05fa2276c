import { PAGE_SIZE } from "../hash.ts";
import { MeasurementError } from "../measurement-error.ts";

/*
 * The save area of a vCPU at its start (AMD64 APM volume 2, table B-4), one encrypted page that is measured. What it holds is up to the
 * host's software: architectural reset values, and what each VMM makes of them.
 */

const segmentOffsets = {
  es: 0x00,
  cs: 0x10,
  ss: 0x20,
  ds: 0x30,
  fs: 0x40,
  gs: 0x50,
  gdtr: 0x60,
  ldtr: 0x70,
  idtr: 0x80,
  tr: 0x90,
} as const;

const registerOffsets = {
  efer: [0xd0, 8],
  cr4: [0x148, 8],
  cr0: [0x158, 8],
  dr7: [0x160, 8],
  dr6: [0x168, 8],
  rflags: [0x170, 8],
  rip: [0x178, 8],
  gPat: [0x268, 8],
  rdx: [0x310, 8],
  sevFeatures: [0x3b0, 8],
  xcr0: [0x3e8, 8],
  mxcsr: [0x408, 4],
  x87Fcw: [0x410, 2],
} as const;

interface Segment {
  readonly selector?: number;
  /** As in a VMCB: type, S, DPL, P in bits 7:0; AVL, L, D, G in bits 11:8. */
  readonly attributes: number;
  readonly limit?: number;
  readonly base?: number;
}

/** What the VMMs set otherwise than each other. */
interface VmmRow {
  /** Attributes of CS of the first vCPU, at the reset vector. */
  readonly bootCs: number;
  readonly ss: number;
  readonly tr: number;
  readonly gPat: bigint;
  /** EDX at reset; undefined: the CPUID signature of the vCPU. */
  readonly rdx: number | undefined;
  readonly mxcsr: number;
  readonly x87Fcw: number;
}

const RESET_PAT = 0x0007_0406_0007_0406n;

/** VMMs whose launches can be foretold. */
export const vmms = {
  /** QEMU over KVM, which writes the FPU's reset state into the save area. */
  qemu: {
    bootCs: 0x9b,
    ss: 0x93,
    tr: 0x8b,
    gPat: RESET_PAT,
    rdx: undefined,
    mxcsr: 0x1f80,
    x87Fcw: 0x37f,
  },
  /** QEMU over the first kernels with SNP: MXCSR and FCW stay zero. */
  "qemu-early": { bootCs: 0x9b, ss: 0x93, tr: 0x8b, gPat: RESET_PAT, rdx: undefined, mxcsr: 0, x87Fcw: 0 },
  ec2: { bootCs: 0x9a, ss: 0x92, tr: 0x83, gPat: RESET_PAT, rdx: 0, mxcsr: 0, x87Fcw: 0 },
  /** Google Compute Engine, after its published firmware verifier; no vector of it is at hand. */
  gce: { bootCs: 0x9b, ss: 0x93, tr: 0x8b, gPat: 0x0007_0106n, rdx: 0x600, mxcsr: 0, x87Fcw: 0 },
} as const satisfies Readonly<Record<string, VmmRow>>;
export type Vmm = keyof typeof vmms;

/** Where the first vCPU starts. */
export const RESET_VECTOR = 0xffff_fff0;

/** SEV_FEATURES that are at hand by name; any 64-bit value is taken. */
export const sevFeatures = { snpActive: 1n, debugSwap: 0x20n } as const;

export interface VmsaInput {
  /** Linear address of the first instruction, below 4 GiB: its upper 16 bits go into CS's base. */
  readonly start: number;
  /** CPUID leaf 1 EAX; see `vcpuSignature`. */
  readonly signature: number;
  readonly vmm?: Vmm;
  /** SEV_FEATURES. Default: SNP alone. Some versions of KVM set DebugSwap besides. */
  readonly features?: bigint;
}

/** The page with the save area of a vCPU in 16-bit mode at `start`, as a VMM makes it. */
export function buildVmsa({
  start,
  signature,
  vmm = "qemu",
  features = sevFeatures.snpActive,
}: VmsaInput): Uint8Array {
  if (!Number.isInteger(start) || start < 0 || start > 0xffff_ffff)
    throw new MeasurementError("bad-argument", `a vCPU does not start at 0x${start.toString(16)}`);
  if (BigInt.asUintN(64, features) !== features)
    throw new MeasurementError("bad-argument", `SEV_FEATURES are 64 bits, not 0x${features.toString(16)}`);
  const row: VmmRow = vmms[vmm];
  const data: Segment = { attributes: 0x93 };
  const segments: Record<keyof typeof segmentOffsets, Segment> = {
    es: data,
    cs: {
      selector: 0xf000,
      attributes: start === RESET_VECTOR ? row.bootCs : 0x9b,
      base: start - (start % 0x1_0000),
    },
    ss: { attributes: row.ss },
    ds: data,
    fs: data,
    gs: data,
    gdtr: { attributes: 0 },
    ldtr: { attributes: 0x82 },
    idtr: { attributes: 0 },
    tr: { attributes: row.tr },
  };
  const registers: Record<keyof typeof registerOffsets, number | bigint> = {
    efer: 0x1000, // SVME, which KVM sets in every guest
    cr4: 0x40, // MCE, likewise
    cr0: 0x10,
    dr7: 0x400,
    dr6: 0xffff_0ff0,
    rflags: 2,
    rip: start % 0x1_0000,
    gPat: row.gPat,
    rdx: row.rdx ?? signature,
    sevFeatures: features,
    xcr0: 1,
    mxcsr: row.mxcsr,
    x87Fcw: row.x87Fcw,
  };
  const page = new Uint8Array(PAGE_SIZE);
  const view = new DataView(page.buffer);
  for (const [name, at] of Object.entries(segmentOffsets) as [keyof typeof segmentOffsets, number][]) {
    const { selector = 0, attributes, limit = 0xffff, base = 0 } = segments[name];
    view.setUint16(at, selector, true);
    view.setUint16(at + 2, attributes, true);
    view.setUint32(at + 4, limit, true);
    view.setBigUint64(at + 8, BigInt(base), true);
  }
  for (const [name, [at, size]] of Object.entries(registerOffsets) as [
    keyof typeof registerOffsets,
    readonly [number, 2 | 4 | 8],
  ][]) {
    const value = registers[name];
    if (size === 8) view.setBigUint64(at, BigInt(value), true);
    else if (size === 4) view.setUint32(at, Number(value), true);
    else view.setUint16(at, Number(value), true);
  }
  return page;
}
