import { ByteMap, type Parsed } from "./byte-map.ts";
import { type Finding, trailingFinding } from "./finding.ts";
import { Layout, type LayoutInput, type LayoutValues } from "./layout.ts";
import { snpPolicyBits } from "./snp-report.ts";

/*
 * ID block and its authentication (SEV-SNP ABI 56860, 8.18): what a guest's owner signs at launch. A report shows only the digests of
 * the keys, and family, image, SVN and policy as the block had them.
 */

const spec = "SEV-SNP ABI 56860, 8.18";

export const snpIdBlockLayout = new Layout("ID_BLOCK", spec, 96, [
  { name: "launchDigest", offset: 0, type: 48, clause: "ID_BLOCK", what: "launch digest that is expected" },
  { name: "familyId", offset: 48, type: 16, clause: "ID_BLOCK", what: "family of the guest" },
  { name: "imageId", offset: 64, type: 16, clause: "ID_BLOCK", what: "image of the guest" },
  { name: "version", offset: 80, type: "u32", clause: "ID_BLOCK", what: "1" },
  { name: "guestSvn", offset: 84, type: "u32", clause: "ID_BLOCK", what: "security version of the guest" },
  {
    name: "policy",
    offset: 88,
    type: "u64",
    clause: "ID_BLOCK",
    what: "GUEST_POLICY that is expected",
    bits: snpPolicyBits,
  },
]);

/** P-384 public key, as the firmware takes it: what a digest in a report goes over. */
const keyLayout = new Layout("ID key", spec, 0x404, [
  { name: "curve", offset: 0, type: "u32", clause: "public key", what: "2: P-384" },
  { name: "x", offset: 4, type: 48, clause: "public key", what: "little-endian" },
  { name: "reserved52", offset: 52, type: 24, clause: "public key", what: "reserved", reserved: true },
  { name: "y", offset: 76, type: 48, clause: "public key", what: "little-endian" },
  { name: "reserved124", offset: 124, type: 904, clause: "public key", what: "reserved", reserved: true },
]);
const signatureLayout = new Layout("ID signature", spec, 512, [
  { name: "r", offset: 0, type: 48, clause: "signature", what: "little-endian" },
  { name: "reserved48", offset: 48, type: 24, clause: "signature", what: "reserved", reserved: true },
  { name: "s", offset: 72, type: 48, clause: "signature", what: "little-endian" },
  { name: "reserved120", offset: 120, type: 392, clause: "signature", what: "reserved", reserved: true },
]);

export const snpIdAuthLayout = new Layout("ID_AUTH", spec, 4096, [
  { name: "idKeyAlgorithm", offset: 0, type: "u32", clause: "ID_AUTH", what: "1: ECDSA P-384 with SHA-384" },
  { name: "authorKeyAlgorithm", offset: 4, type: "u32", clause: "ID_AUTH", what: "likewise" },
  { name: "reserved8", offset: 8, type: 56, clause: "ID_AUTH", what: "reserved", reserved: true },
  { name: "idBlockSignature", offset: 64, type: signatureLayout, clause: "ID_AUTH", what: "of the ID block" },
  { name: "idKey", offset: 576, type: keyLayout, clause: "ID_AUTH", what: "the key that signed it" },
  { name: "reserved1604", offset: 1604, type: 60, clause: "ID_AUTH", what: "reserved", reserved: true },
  { name: "idKeySignature", offset: 1664, type: signatureLayout, clause: "ID_AUTH", what: "of the ID key" },
  { name: "authorKey", offset: 2176, type: keyLayout, clause: "ID_AUTH", what: "the key that signed that" },
  { name: "reserved3204", offset: 3204, type: 892, clause: "ID_AUTH", what: "reserved", reserved: true },
]);

export interface SnpIdBlock extends Parsed {
  readonly fields: LayoutValues<typeof snpIdBlockLayout>;
}
export interface SnpIdAuth extends Parsed {
  readonly fields: LayoutValues<typeof snpIdAuthLayout>;
  /** What ID_KEY_DIGEST and AUTHOR_KEY_DIGEST of a report are SHA-384 of: views. */
  readonly idKeyBytes: Uint8Array;
  readonly authorKeyBytes: Uint8Array;
}

function parsed(layout: Layout, bytes: Uint8Array): Parsed {
  const findings: Finding[] = layout.findings(bytes);
  findings.push(...trailingFinding(bytes, layout.size, spec));
  return { bytes: bytes.subarray(0, layout.size), map: new ByteMap().structure("", layout, 0), findings };
}

/** An ID block that begins `bytes`. Throws MalformedError `truncated`. */
export function parseSnpIdBlock(bytes: Uint8Array): SnpIdBlock {
  return { fields: snpIdBlockLayout.read(bytes), ...parsed(snpIdBlockLayout, bytes) };
}

/** Authentication of an ID block that begins `bytes`. Throws MalformedError `truncated`. */
export function parseSnpIdAuth(bytes: Uint8Array): SnpIdAuth {
  return {
    fields: snpIdAuthLayout.read(bytes),
    idKeyBytes: bytes.subarray(576, 576 + keyLayout.size),
    authorKeyBytes: bytes.subarray(2176, 2176 + keyLayout.size),
    ...parsed(snpIdAuthLayout, bytes),
  };
}

export const buildSnpIdBlock = (fields: LayoutInput<typeof snpIdBlockLayout>): Uint8Array =>
  snpIdBlockLayout.build(fields);
export const buildSnpIdAuth = (fields: LayoutInput<typeof snpIdAuthLayout>): Uint8Array =>
  snpIdAuthLayout.build(fields);
