import { constants, createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import {
  buildTpmAttest,
  buildTpmSignature,
  EventLogBuilder,
  EventType,
  parseEventLog,
  replay,
} from "@entresol/evidence";
import {
  Alg,
  Curve,
  noScheme,
  noSymmetric,
  ObjectAttribute,
  type Public,
  type Signature,
  St,
  TPM_GENERATED,
} from "@entresol/tpm-types";
import type { TpmQuoteEvidence } from "../tpm/quote.ts";

/* A virtual TPM's keys, quotes and logs, for tests: everything can be made otherwise than a TPM would. */

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
export const hashed = (name: string, ...parts: readonly Uint8Array[]): Uint8Array => {
  const state = createHash(name);
  for (const part of parts) state.update(part);
  return new Uint8Array(state.digest());
};

export interface QuotingKey {
  readonly privateKey: KeyObject;
  readonly publicArea: Public;
}

const quoting = ObjectAttribute.fixedTPM | ObjectAttribute.restricted | ObjectAttribute.sign;
const made = new Map<string, QuotingKey>();

/** Attributes of keys as the TCG's templates have them. */
export const attributesOf = {
  ak: quoting | ObjectAttribute.fixedParent | ObjectAttribute.sensitiveDataOrigin,
  ek:
    ObjectAttribute.fixedTPM |
    ObjectAttribute.fixedParent |
    ObjectAttribute.sensitiveDataOrigin |
    ObjectAttribute.restricted |
    ObjectAttribute.decrypt,
} as const;

const fromBase64 = (text: string | undefined): Uint8Array =>
  new Uint8Array(Buffer.from(text ?? "", "base64url"));

/** A key of a TPM; the same one for the same name. */
export function quotingKey(kind: "rsa" | "P-256" | "P-384", name: string): QuotingKey {
  const known = made.get(`${kind} ${name}`);
  if (known !== undefined) return known;
  const { privateKey, publicKey } =
    kind === "rsa"
      ? generateKeyPairSync("rsa", { modulusLength: 2048 })
      : generateKeyPairSync("ec", { namedCurve: kind });
  const jwk = publicKey.export({ format: "jwk" });
  const common = { nameAlg: Alg.SHA256, objectAttributes: attributesOf.ak, authPolicy: new Uint8Array(0) };
  const publicArea: Public =
    kind === "rsa"
      ? {
          ...common,
          type: Alg.RSA,
          parameters: { symmetric: noSymmetric, scheme: noScheme, keyBits: 2048, exponent: 0 },
          unique: fromBase64(jwk.n),
        }
      : {
          ...common,
          type: Alg.ECC,
          parameters: {
            symmetric: noSymmetric,
            scheme: noScheme,
            curveID: kind === "P-256" ? Curve.NIST_P256 : Curve.NIST_P384,
            kdf: noScheme,
          },
          unique: { x: fromBase64(jwk.x), y: fromBase64(jwk.y) },
        };
  const key = { privateKey, publicArea };
  made.set(`${kind} ${name}`, key);
  return key;
}

const hashIds = { sha1: Alg.SHA1, sha256: Alg.SHA256, sha384: Alg.SHA384, sha512: Alg.SHA512 } as const;
export type Bank = keyof typeof hashIds;

/** A log of a boot: firmware into PCR 0, separators, a kernel into PCR 4 and its command line into PCR 8. */
export interface LogInput {
  readonly banks?: readonly Bank[];
  readonly locality?: 0 | 3 | 4;
  readonly kernel?: Uint8Array;
  /** MR index instead of PCR index, as a CCEL has. */
  readonly indexOf?: (pcr: number) => number;
}

export const goodKernel = utf8("a kernel");

export function bootLog({
  banks = ["sha1", "sha256"],
  locality,
  kernel = goodKernel,
  indexOf = (pcr) => pcr,
}: LogInput = {}): Uint8Array {
  const log = new EventLogBuilder(
    banks.map((name) => ({ id: hashIds[name], digestSize: hashed(name).length })),
  );
  const add = (pcr: number, type: number, measured: Uint8Array, data = measured) =>
    log.add({
      index: indexOf(pcr),
      type,
      digests: banks.map((name) => ({ algorithm: hashIds[name], digest: hashed(name, measured) })),
      data,
    });
  if (locality !== undefined) log.startupLocality(locality);
  add(0, EventType.EV_S_CRTM_VERSION, utf8("1\0"));
  add(0, EventType.EV_SEPARATOR, new Uint8Array(4));
  log.note(indexOf(0), utf8("nothing that is measured"));
  add(4, EventType.EV_EFI_BOOT_SERVICES_APPLICATION, kernel, utf8("\\EFI\\kernel"));
  add(8, EventType.EV_IPL, utf8("root=/dev/vda"));
  return log.finish();
}

/** All 24 PCRs of a bank after a boot with this log. */
export function pcrsAfter(log: Uint8Array, bank: Bank): Uint8Array[] {
  const values = replay(parseEventLog(log), hashIds[bank], (value, digest) => hashed(bank, value, digest));
  const size = hashed(bank).length;
  return Array.from(
    { length: 24 },
    (_, index) => values.get(index) ?? new Uint8Array(size).fill(index >= 17 && index <= 22 ? 0xff : 0),
  );
}

export interface QuoteInput {
  readonly key?: QuotingKey;
  readonly scheme?: "RSASSA" | "RSAPSS" | "ECDSA" | "RSA alone";
  /** Of the signature, and so of the digest. */
  readonly hash?: Bank;
  /** Bytes of salt. */
  readonly salt?: number;
  readonly nonce?: Uint8Array;
  readonly magic?: number;
  /** Banks in order, with the PCRs of each. */
  readonly selection?: readonly (readonly [bank: Bank, pcrs: readonly number[]])[];
  readonly log?: Uint8Array;
  /** What the digest is over instead of the PCRs after the log. */
  readonly digest?: Uint8Array;
  /** PCR values that come along; undefined: none do. By default all those of the selection. */
  readonly pcrs?: TpmQuoteEvidence["pcrs"] | null;
  readonly changeMessage?: (message: Uint8Array) => void;
  readonly changeSignature?: (signature: Uint8Array) => void;
}

export const allPcrs = Array.from({ length: 24 }, (_, index) => index);
export const goodNonce = utf8("a nonce that nobody guesses");

/** A quote of a TPM that booted with the log. */
export function tpmQuote(input: QuoteInput = {}): TpmQuoteEvidence {
  const { key = quotingKey("rsa", "ak"), hash = "sha256", log = bootLog() } = input;
  const selection = input.selection ?? [["sha256", allPcrs]];
  const values: Partial<Record<Bank, Uint8Array[]>> = {};
  for (const [bank] of selection) values[bank] = pcrsAfter(log, bank);
  const quoted = selection.flatMap(([bank, pcrs]) =>
    pcrs.map((index) => values[bank]?.[index] ?? new Uint8Array(0)),
  );
  const message = buildTpmAttest({
    magic: input.magic ?? TPM_GENERATED,
    type: St.ATTEST_QUOTE,
    qualifiedSigner: Uint8Array.of(0, 11, ...hashed("sha256")),
    extraData: input.nonce ?? goodNonce,
    clockInfo: { clock: 1000n, resetCount: 2, restartCount: 0, safe: true },
    firmwareVersion: 1n,
    attested: {
      pcrSelect: selection.map(([bank, pcrs]) => ({
        hash: hashIds[bank],
        pcrSelect: Uint8Array.from({ length: 3 }, (_, byte) =>
          pcrs.filter((index) => index >> 3 === byte).reduce((bits, index) => bits | (1 << (index & 7)), 0),
        ),
      })),
      pcrDigest: input.digest ?? hashed(hash, ...quoted),
    },
  });
  const signature = signatureOf(message, key, input, hash);
  input.changeMessage?.(message);
  input.changeSignature?.(signature);
  const { pcrs = values } = input;
  return { message, signature, ...(pcrs && { pcrs }) };
}

function signatureOf(
  message: Uint8Array,
  { privateKey, publicArea }: QuotingKey,
  { scheme = publicArea.type === Alg.ECC ? "ECDSA" : "RSASSA", salt }: QuoteInput,
  hash: Bank,
): Uint8Array {
  if (scheme === "ECDSA") {
    const both = sign(hash, message, { key: privateKey, dsaEncoding: "ieee-p1363" });
    const half = both.length / 2;
    const ecdsa: Signature = {
      sigAlg: Alg.ECDSA,
      hash: hashIds[hash],
      r: new Uint8Array(both.subarray(0, half)),
      s: new Uint8Array(both.subarray(half)),
    };
    return buildTpmSignature(ecdsa);
  }
  const padding = scheme === "RSAPSS" ? constants.RSA_PKCS1_PSS_PADDING : constants.RSA_PKCS1_PADDING;
  const saltLength = salt ?? hashed(hash).length;
  const sig = new Uint8Array(sign(hash, message, { key: privateKey, padding, saltLength }));
  if (scheme === "RSA alone") return sig;
  return buildTpmSignature({ sigAlg: Alg[scheme], hash: hashIds[hash], sig });
}
