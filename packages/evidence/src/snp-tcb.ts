import { Layout } from "./layout.ts";

/* TCB versions of SEV-SNP: eight bytes whose meaning depends on the product. */

const spec = "SEV-SNP ABI 56860";
const clause = "TCB_VERSION";

/** Milan and Genoa. */
export const tcbLayout = new Layout("TCB_VERSION", spec, 8, [
  { name: "bootloader", offset: 0, type: "u8", clause, what: "security patch level of the boot loader" },
  { name: "tee", offset: 1, type: "u8", clause, what: "of the PSP operating system" },
  { name: "reserved2", offset: 2, type: 4, clause, what: "reserved", reserved: true },
  { name: "snp", offset: 6, type: "u8", clause, what: "of the SNP firmware" },
  { name: "microcode", offset: 7, type: "u8", clause, what: "lowest microcode level of all cores" },
]);

/** Turin. */
export const turinTcbLayout = new Layout("TCB_VERSION of Turin", spec, 8, [
  { name: "fmc", offset: 0, type: "u8", clause, what: "security patch level of the FMC firmware" },
  { name: "bootloader", offset: 1, type: "u8", clause, what: "of the boot loader" },
  { name: "tee", offset: 2, type: "u8", clause, what: "of the PSP operating system" },
  { name: "snp", offset: 3, type: "u8", clause, what: "of the SNP firmware" },
  { name: "reserved4", offset: 4, type: 3, clause, what: "reserved", reserved: true },
  { name: "microcode", offset: 7, type: "u8", clause, what: "lowest microcode level of all cores" },
]);

export type SnpTcbLayoutName = "milan" | "turin";
export const snpTcbLayouts = { milan: tcbLayout, turin: turinTcbLayout } as const;

/** Components of a TCB version, each 0 to 255. Only Turin has `fmc`. */
export interface SnpTcb {
  readonly fmc?: number;
  readonly bootloader: number;
  readonly tee: number;
  readonly snp: number;
  readonly microcode: number;
}

/** The components of eight bytes of TCB version. */
export function snpTcb(bytes: Uint8Array, layout: SnpTcbLayoutName): SnpTcb {
  if (layout === "turin") {
    const { fmc, bootloader, tee, snp, microcode } = turinTcbLayout.read(bytes);
    return { fmc, bootloader, tee, snp, microcode };
  }
  const { bootloader, tee, snp, microcode } = tcbLayout.read(bytes);
  return { bootloader, tee, snp, microcode };
}

/** The bytes of a TCB version. */
export function buildSnpTcb(tcb: SnpTcb): Uint8Array {
  const { fmc, ...others } = tcb;
  return fmc === undefined ? tcbLayout.build(others) : turinTcbLayout.build({ fmc, ...others });
}

/** A processor as the VCEK chains name it. */
export type SnpProductLine = "Milan" | "Genoa" | "Turin";

export interface SnpProduct {
  /** Marketing name, for people. */
  readonly name: string;
  /** Which chain its keys have. */
  readonly line: SnpProductLine;
  readonly tcbLayout: SnpTcbLayoutName;
  /** Bytes of CHIP_ID that identify the chip, and of hwID in its VCEK. */
  readonly hwIdLength: 8 | 64;
}

interface ProductRow extends SnpProduct {
  readonly family: number;
  /** First and last model, with the extended model. */
  readonly models: readonly [number, number];
}

/** By CPUID 1: family and model with their extensions (SEV-SNP ABI 56860, CPUID_FAM_ID). */
export const snpProducts: readonly ProductRow[] = [
  { family: 0x19, models: [0x00, 0x0f], name: "Milan", line: "Milan", tcbLayout: "milan", hwIdLength: 64 },
  { family: 0x19, models: [0x10, 0x1f], name: "Genoa", line: "Genoa", tcbLayout: "milan", hwIdLength: 64 },
  {
    family: 0x19,
    models: [0xa0, 0xaf],
    name: "Bergamo or Siena",
    line: "Genoa",
    tcbLayout: "milan",
    hwIdLength: 64,
  },
  { family: 0x1a, models: [0x00, 0x11], name: "Turin", line: "Turin", tcbLayout: "turin", hwIdLength: 8 },
];

/** The product of a family and model; undefined when it is none of those known. */
export function snpProduct(family: number, model: number): SnpProduct | undefined {
  return snpProducts.find((row) => row.family === family && model >= row.models[0] && model <= row.models[1]);
}
