import {
  parseSnpIdAuth,
  parseSnpIdBlock,
  type SnpIdAuth,
  type SnpIdBlock,
  type SnpReport,
} from "@entresol/evidence";
import { MalformedError, toHex } from "@entresol/wire";
import type { Checklist, Place } from "../check.ts";
import type { Context } from "../context.ts";
import { EvidenceError } from "../errors.ts";
import { sameBytes } from "../x509/chain.ts";
import type { SnpCheckId } from "./checks.ts";

/*
 * What the guest's owner signed at launch. The firmware launches nothing else, and a report shows of it the digests of the keys: with block
 * and authentication at hand their whole way from the author's key to the report can be followed.
 */

/** ID block and its authentication, as they were given to SNP_LAUNCH_FINISH. */
export interface LaunchIdentity {
  readonly idBlock: Uint8Array;
  /** Left out: the block is held against the report, and who signed it is not judged. */
  readonly idAuth?: Uint8Array;
}

const P384 = 2;
const ECDSA_P384_SHA384 = 1;
const blockFields = {
  launchDigest: "measurement",
  familyId: "familyId",
  imageId: "imageId",
} as const satisfies Partial<Record<keyof SnpIdBlock["fields"], keyof SnpReport["fields"]>>;

const inReport = (report: SnpReport, path: string): Place => {
  const field = report.map.get(path);
  return { input: "report", offset: field?.offset ?? 0, length: field?.length ?? 0 };
};
const inAuth = (offset: number, length: number): Place => ({ input: "id-auth", offset, length });

/** Judges block and authentication against a report. */
export async function judgeIdentity(
  context: Context,
  checks: Checklist<SnpCheckId>,
  report: SnpReport,
  { idBlock, idAuth }: LaunchIdentity,
): Promise<void> {
  const block = read(checks, "snp.id-block", "id-block", idBlock, parseSnpIdBlock);
  if (block !== undefined) blockFits(checks, report, block);
  if (idAuth === undefined) {
    checks.skip("snp.id-key", "there is no authentication of the ID block");
    checks.skip("snp.author-key", "there is no authentication of the ID block");
    return;
  }
  const auth = read(checks, "snp.id-key", "id-auth", idAuth, parseSnpIdAuth);
  if (auth === undefined) return;
  const { fields, idKeyBytes, authorKeyBytes } = auth;
  if (block !== undefined)
    await keySigned(context, checks, "snp.id-key", {
      key: fields.idKey,
      keyBytes: idKeyBytes,
      keyAt: 576,
      algorithm: fields.idKeyAlgorithm,
      signature: fields.idBlockSignature,
      signatureAt: 64,
      data: block.bytes,
      what: "the ID block",
      digest: report.fields.idKeyDigest,
      digestPlace: inReport(report, "idKeyDigest"),
    });
  if (report.flags.has("AUTHOR_KEY_EN"))
    await keySigned(context, checks, "snp.author-key", {
      key: fields.authorKey,
      keyBytes: authorKeyBytes,
      keyAt: 2176,
      algorithm: fields.authorKeyAlgorithm,
      signature: fields.idKeySignature,
      signatureAt: 1664,
      data: idKeyBytes,
      what: "the ID key",
      digest: report.fields.authorKeyDigest,
      digestPlace: inReport(report, "authorKeyDigest"),
    });
  else {
    const empty = report.fields.authorKeyDigest.every((byte) => byte === 0);
    checks.decide(
      "snp.author-key",
      empty,
      empty ? "the guest was launched without one" : "a digest without the flag that says so",
      inReport(report, "authorKeyDigest"),
    );
  }
}

function read<T extends SnpIdBlock | SnpIdAuth>(
  checks: Checklist<SnpCheckId>,
  id: SnpCheckId,
  input: string,
  bytes: Uint8Array,
  parse: (bytes: Uint8Array) => T,
): T | undefined {
  try {
    const parsed = parse(bytes);
    const [finding] = parsed.findings.filter(({ kind }) => kind !== "unknown-bits");
    if (finding === undefined) return parsed;
    const { path, detail, offset, length } = finding;
    checks.fail(id, `${path}: ${detail}`, { input, offset, length });
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    checks.fail(id, error.message, { input, offset: error.offset, length: 4 });
  }
  return undefined;
}

function blockFits(checks: Checklist<SnpCheckId>, report: SnpReport, { fields, map }: SnpIdBlock): void {
  const wrong: [string, string, string][] = [];
  if (fields.version !== 1) wrong.push([`version ${fields.version}, 1 is right`, "version", "idKeyDigest"]);
  for (const [name, shown] of Object.entries(blockFields) as [
    keyof typeof blockFields,
    (typeof blockFields)[keyof typeof blockFields],
  ][])
    if (!sameBytes(fields[name], report.fields[shown]))
      wrong.push([
        `${shown} is ${toHex(report.fields[shown])} in the report, ${toHex(fields[name])} in the block`,
        name,
        shown,
      ]);
  for (const name of ["guestSvn", "policy"] as const)
    if (fields[name] !== report.fields[name])
      wrong.push([
        `${name} is 0x${report.fields[name].toString(16)} in the report, 0x${fields[name].toString(16)} in the block`,
        name,
        name,
      ]);
  for (const [detail, name, shown] of wrong) {
    const field = map.get(name);
    checks.fail(
      "snp.id-block",
      detail,
      { input: "id-block", offset: field?.offset ?? 0, length: field?.length ?? 0 },
      inReport(report, shown),
    );
  }
  if (wrong.length === 0)
    checks.pass("snp.id-block", "measurement, family, image, SVN and policy are those of the report");
}

interface Signed {
  readonly key: SnpIdAuth["fields"]["idKey"];
  readonly keyBytes: Uint8Array;
  readonly keyAt: number;
  readonly algorithm: number;
  readonly signature: SnpIdAuth["fields"]["idBlockSignature"];
  readonly signatureAt: number;
  readonly data: Uint8Array;
  readonly what: string;
  /** What the report says of the key. */
  readonly digest: Uint8Array;
  readonly digestPlace: Place;
}

/** The key is the one that the report names, and it signed the data. */
async function keySigned(
  { crypto }: Context,
  checks: Checklist<SnpCheckId>,
  id: SnpCheckId,
  { key, keyBytes, keyAt, algorithm, signature, signatureAt, data, what, digest, digestPlace }: Signed,
): Promise<void> {
  const place = inAuth(keyAt, keyBytes.length);
  if (algorithm !== ECDSA_P384_SHA384 || key.curve !== P384) {
    checks.fail(id, `algorithm ${algorithm} on curve ${key.curve}: ECDSA P-384 with SHA-384 is right`, place);
    return;
  }
  const hash = await crypto.digest("sha384", keyBytes);
  if (!sameBytes(hash, digest)) {
    checks.fail(
      id,
      `the key's digest is ${toHex(hash)}, the report has ${toHex(digest)}`,
      place,
      digestPlace,
    );
    return;
  }
  let good = false;
  try {
    const publicKey = await crypto.importPoint("P-384", bigEndian(key.x, key.y));
    const scheme = { name: "ecdsa", hash: "sha384" } as const;
    good = await crypto.verify(publicKey, scheme, bigEndian(signature.r, signature.s), data);
  } catch (error) {
    // A point that is not on the curve.
    if (!(error instanceof EvidenceError)) throw error;
  }
  checks.decide(
    id,
    good,
    good ? `${toHex(hash)} signed ${what}` : `the key did not sign ${what}`,
    place,
    inAuth(signatureAt, 512),
    digestPlace,
  );
}

/** Two little-endian numbers of the same size, one behind the other, big-endian. */
function bigEndian(first: Uint8Array, second: Uint8Array): Uint8Array {
  const both = new Uint8Array(first.length + second.length);
  both.set(first.toReversed());
  both.set(second.toReversed(), first.length);
  return both;
}
