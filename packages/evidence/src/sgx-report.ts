import { type BitRow, Layout, type LayoutValues } from "./layout.ts";

/* REPORTBODY of an SGX enclave (SDM volume 3D, 35.15): the body of an SGX quote, and what a quoting enclave says of itself. */

const spec = "Intel SDM 3D, table 35-20";
const clause = "REPORT";

/** ATTRIBUTES.FLAGS, the lower half of ATTRIBUTES. */
export const sgxAttributeBits = [
  { bit: 0, name: "INIT", what: "the enclave was initialized" },
  { bit: 1, name: "DEBUG", what: "a debugger may read and write the enclave" },
  { bit: 2, name: "MODE64BIT", what: "runs in 64-bit mode" },
  { bit: 4, name: "PROVISIONKEY", what: "may get the provisioning key" },
  { bit: 5, name: "EINITTOKENKEY", what: "may get the EINIT token key" },
  { bit: 6, name: "CET", what: "uses control-flow enforcement" },
  { bit: 7, name: "KSS", what: "uses key separation and sharing" },
  { bit: 10, name: "AEXNOTIFY", what: "may be told of asynchronous exits" },
] as const satisfies readonly BitRow[];

export const sgxReportLayout = new Layout("SGX REPORTBODY", spec, 384, [
  { name: "cpuSvn", offset: 0, type: 16, clause, what: "security version of the processor" },
  { name: "miscSelect", offset: 16, type: "u32", clause, what: "what is saved on an exit" },
  { name: "reserved20", offset: 20, type: 12, clause, what: "reserved", reserved: true },
  { name: "isvExtProdId", offset: 32, type: 16, clause, what: "extended product id" },
  {
    name: "attributeFlags",
    offset: 48,
    type: "u64",
    clause,
    what: "ATTRIBUTES, flags",
    bits: sgxAttributeBits,
  },
  { name: "attributeXfrm", offset: 56, type: "u64", clause, what: "ATTRIBUTES, state components as XCR0" },
  { name: "mrEnclave", offset: 64, type: 32, clause, what: "measurement of the enclave" },
  { name: "reserved96", offset: 96, type: 32, clause, what: "reserved", reserved: true },
  { name: "mrSigner", offset: 128, type: 32, clause, what: "SHA-256 of its signer's modulus" },
  { name: "reserved160", offset: 160, type: 32, clause, what: "reserved", reserved: true },
  { name: "configId", offset: 192, type: 64, clause, what: "given when it was created" },
  { name: "isvProdId", offset: 256, type: "u16", clause, what: "product, by its signer" },
  { name: "isvSvn", offset: 258, type: "u16", clause, what: "security version, by its signer" },
  { name: "configSvn", offset: 260, type: "u16", clause, what: "given when it was created" },
  { name: "reserved262", offset: 262, type: 42, clause, what: "reserved", reserved: true },
  { name: "isvFamilyId", offset: 304, type: 16, clause, what: "family, by its signer" },
  { name: "reportData", offset: 320, type: 64, clause, what: "what the enclave wanted to be signed" },
]);

export type SgxReportFields = LayoutValues<typeof sgxReportLayout>;

/** ATTRIBUTES as QE identities compare it: 16 bytes, at this offset of a report. */
export const sgxAttributesOffset = 48;
