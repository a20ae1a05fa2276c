import { Writer } from "@entresol/wire";
import type { Hash } from "../hash.ts";
import type { IgvmFile, IgvmHeader } from "./header-types.ts";
import { guestPolicyOf, headersFor, platformOf } from "./platform.ts";

/** Bytes of a public key as the firmware takes it: curve, X and Y of 72 bytes, zeros (SEV-SNP ABI 56860, 8.18). */
const KEY_SIZE = 0x404;

/** Who vouches for a guest, as an IGVM file carries it. A report shows the digests and the four fields of the block. */
export interface SnpIdentity {
  /** ID_BLOCK: 96 bytes, what the ID key signs. */
  readonly block: Uint8Array;
  /** R and S of 72 bytes, little-endian, one after the other. */
  readonly signature: Uint8Array;
  readonly idKey: Uint8Array;
  /** ID_KEY_DIGEST of a report: SHA-384 of the key. */
  readonly idKeyDigest: Uint8Array;
  /** Of the key that signs the ID key; undefined without one. */
  readonly authorKey: Uint8Array | undefined;
  readonly authorSignature: Uint8Array | undefined;
  readonly authorKeyDigest: Uint8Array | undefined;
  /** The launch digest that the block demands; a launch with another is refused. */
  readonly launchDigest: Uint8Array;
}

/** The ID block of a file for SEV-SNP; undefined when it has none. Throws MeasurementError `wrong-platform`. */
export function snpIdentityOf(hash: Hash, file: IgvmFile): SnpIdentity | undefined {
  const { mask } = platformOf(file, "snp");
  const header = headersFor(file, mask).find(
    (candidate): candidate is IgvmHeader<"snpIdBlock"> => candidate.type === "snpIdBlock",
  );
  if (header === undefined) return undefined;
  const idKey = keyBytes(header.idKeyCurve, header.idKeyX, header.idKeyY);
  const hasAuthor = header.authorKeyEnabled !== 0;
  const authorKey = hasAuthor
    ? keyBytes(header.authorKeyCurve, header.authorKeyX, header.authorKeyY)
    : undefined;
  return {
    block: new Writer(96)
      .bytes(header.launchDigest)
      .bytes(header.familyId)
      .bytes(header.imageId)
      .u32(header.version)
      .u32(header.guestSvn)
      .u64(guestPolicyOf(file, mask) ?? 0n)
      .finish(),
    signature: new Writer(144).bytes(header.idSignatureR).bytes(header.idSignatureS).finish(),
    idKey,
    idKeyDigest: hash("sha384", idKey),
    authorKey,
    authorSignature: hasAuthor
      ? new Writer(144).bytes(header.authorSignatureR).bytes(header.authorSignatureS).finish()
      : undefined,
    authorKeyDigest: authorKey && hash("sha384", authorKey),
    launchDigest: header.launchDigest,
  };
}

function keyBytes(curve: number, x: Uint8Array, y: Uint8Array): Uint8Array {
  return new Writer(KEY_SIZE)
    .u32(curve)
    .bytes(x)
    .bytes(y)
    .zeros(KEY_SIZE - 148)
    .finish();
}
