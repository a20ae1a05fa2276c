import { parseTpmQuote, parseTpmSignature, type TpmQuote, type TpmSignature } from "@entresol/evidence";
import { Alg, algorithmName } from "@entresol/tpm-types";
import { MalformedError, toHex } from "@entresol/wire";
import type { Checklist, Place } from "../check.ts";
import { type Context, inputHash } from "../context.ts";
import { curveSizes, type HashName, hashSizes, type SignatureScheme } from "../crypto/provider.ts";
import type { InputHash } from "../outcome.ts";
import { sameBytes } from "../x509/chain.ts";
import type { TpmCheckId } from "./checks.ts";
import { type AttestationKey, type KeyFault, type KeyMissing, rightAligned } from "./key.ts";

/** Values of PCR by bank and index, as somebody read them: worth what the quote's digest makes them. */
export type PcrValues = Readonly<Partial<Record<HashName, readonly (Uint8Array | undefined)[]>>>;

/** A quote of a TPM. */
export interface TpmQuoteEvidence {
  /** TPMS_ATTEST. */
  readonly message: Uint8Array;
  /** TPMT_SIGNATURE, or the bytes of an RSA signature alone. */
  readonly signature: Uint8Array;
  readonly pcrs?: PcrValues;
}

/** A PCR's value that the quote's digest vouches for. */
export interface QuotedPcr {
  readonly bank: HashName;
  readonly index: number;
  readonly value: Uint8Array;
}

/** What a quote says. */
export interface TpmClaims {
  readonly quote: TpmQuote;
  /** For people, for example "RSA 2048, RSASSA with SHA-256". */
  readonly signedBy: string | undefined;
  /** PCRs whose values are known and quoted; undefined when nobody gave values, or they were not those of the quote. */
  readonly pcrs: readonly QuotedPcr[] | undefined;
}

/** Banks that this package can compute in, by TPM_ALG_ID. */
export const banks: ReadonlyMap<number, HashName> = new Map([
  [Alg.SHA1, "sha1"],
  [Alg.SHA256, "sha256"],
  [Alg.SHA384, "sha384"],
  [Alg.SHA512, "sha512"],
]);

/** Of a signature: SHA-1 has collisions, by which a key can be made to sign what it never saw. */
const soundHashes: ReadonlyMap<number, HashName> = new Map([...banks].filter(([, name]) => name !== "sha1"));

const MESSAGE = "tpm-quote";
const SIGNATURE = "tpm-signature";

/** Hashes of the inputs, for the report. */
export async function quoteInputs(context: Context, evidence: TpmQuoteEvidence): Promise<InputHash[]> {
  const inputs = [
    await inputHash(context, MESSAGE, evidence.message),
    await inputHash(context, SIGNATURE, evidence.signature),
  ];
  for (const [bank, values] of Object.entries(evidence.pcrs ?? {})) {
    // Number and size before each value: no two sets of values have the same bytes.
    const bytes = values.flatMap((value, index) =>
      value === undefined ? [] : [index, value.length, ...value],
    );
    inputs.push(await inputHash(context, `pcrs ${bank}`, Uint8Array.from(bytes)));
  }
  return inputs;
}

/** Judges a quote. `nonce`: what was asked for; undefined: nobody says, and the policy may. */
export class QuoteJudgement {
  readonly #context: Context;
  readonly #checks: Checklist<TpmCheckId>;

  constructor(context: Context, checks: Checklist<TpmCheckId>) {
    this.#context = context;
    this.#checks = checks;
  }

  /** All but the PCR values. Gives undefined when it could not be read. */
  async signed(
    { message, signature }: TpmQuoteEvidence,
    attester: AttestationKey | KeyFault | KeyMissing | undefined,
    nonce: Uint8Array | undefined,
  ): Promise<{ quote: TpmQuote; hash: HashName | undefined; signedBy: string | undefined } | undefined> {
    const checks = this.#checks;
    if (attester !== undefined) {
      if ("fault" in attester) checks.fail("tpm.key", attester.fault);
      else if ("missing" in attester) checks.skip("tpm.key", attester.missing);
      else checks.pass("tpm.key", attester.text);
    }
    const quote = this.#read("tpm.quote.form", MESSAGE, message, parseTpmQuote);
    if (nonce === undefined) checks.drop("tpm.quote.nonce");
    if (quote === undefined) return undefined;
    checks.pass("tpm.quote.form", `clock ${quote.clockInfo.clock}, resets ${quote.clockInfo.resetCount}`);
    if (nonce !== undefined) {
      const holds = sameBytes(quote.nonce, nonce);
      checks.decide(
        "tpm.quote.nonce",
        holds,
        holds
          ? toHex(nonce)
          : `${quote.nonce.length === 0 ? "none" : toHex(quote.nonce)} in the quote, ${toHex(nonce)} was asked for`,
        placeOf(quote, "extraData"),
      );
    }
    const parsed = this.#read("tpm.quote.signature", SIGNATURE, signature, parseTpmSignature);
    if (parsed === undefined || attester === undefined || !("key" in attester))
      return { quote, hash: undefined, signedBy: undefined };
    const scheme = await this.#signature(quote, parsed, attester, signature.length);
    return {
      quote,
      hash: scheme?.hash,
      signedBy: scheme && `${attester.text}, ${scheme.text}`,
    };
  }

  #read<T>(id: TpmCheckId, input: string, bytes: Uint8Array, parse: (bytes: Uint8Array) => T): T | undefined {
    try {
      return parse(bytes);
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.#checks.fail(id, error.message, { input, offset: error.offset, length: 4 });
      return undefined;
    }
  }

  async #signature(
    quote: TpmQuote,
    parsed: TpmSignature,
    attester: AttestationKey,
    size: number,
  ): Promise<{ hash: HashName; text: string } | undefined> {
    const checks = this.#checks;
    const places: Place[] = [
      { input: MESSAGE, offset: 0, length: quote.bytes.length },
      { input: SIGNATURE, offset: 0, length: size },
    ];
    const read = readSignature(parsed, attester, quote.pcrDigest.length);
    if ("fault" in read) {
      checks.fail("tpm.quote.signature", read.fault, ...places);
      return undefined;
    }
    const { schemes, bytes, hash } = read;
    for (const { scheme, text } of schemes)
      if (await this.#verified(attester, scheme, bytes, quote.bytes)) {
        checks.pass("tpm.quote.signature", `${attester.text}, ${text}`, ...places);
        return { hash, text };
      }
    checks.fail("tpm.quote.signature", "the attestation key did not sign these bytes", ...places);
    return undefined;
  }

  async #verified(
    { key }: AttestationKey,
    scheme: SignatureScheme,
    signature: Uint8Array,
    data: Uint8Array,
  ): Promise<boolean> {
    try {
      return await this.#context.crypto.verify(key, scheme, signature, data);
    } catch {
      // The numbers of the key come with the evidence: what no library computes with has signed nothing.
      return false;
    }
  }

  /**
   * Are these the values that the quote's digest is over? `hash`: that of the signature, which the TPM takes for the digest, too.
   * `values`: as somebody read them, or as a log leads to them; undefined: nobody said anything.
   */
  async pcrs(
    quote: TpmQuote,
    hash: HashName | undefined,
    values: PcrValues | undefined,
  ): Promise<readonly QuotedPcr[] | undefined> {
    const checks = this.#checks;
    const id = "tpm.quote.pcrs";
    const selection = placeOf(quote, "pcrSelect");
    if (quote.banks.every(({ pcrs }) => pcrs.length === 0)) {
      checks.fail(id, "the quote selects no PCR", selection);
      return undefined;
    }
    if (values === undefined) {
      // There is only a digest: rules about values find none, and do not hold.
      checks.drop(id);
      return undefined;
    }
    if (hash === undefined) return undefined;
    const quoted: QuotedPcr[] = [];
    for (const { algorithm, name, pcrs } of quote.banks) {
      const bank = banks.get(algorithm);
      for (const index of pcrs) {
        const value = bank && values[bank]?.[index];
        if (bank === undefined || value?.length !== hashSizes[bank]) {
          checks.skip(
            id,
            `the value of PCR ${index} of ${name}, which is quoted, is not there, or is none of its bank`,
          );
          return undefined;
        }
        quoted.push({ bank, index, value });
      }
    }
    const digest = await this.#context.crypto.digest(hash, ...quoted.map(({ value }) => value));
    const holds = sameBytes(digest, quote.pcrDigest);
    checks.decide(
      id,
      holds,
      holds
        ? quote.banks.map(({ name, pcrs }) => `${name} ${pcrs.join(" ")}`).join("; ")
        : `the digest of the values is ${toHex(digest)}, ${toHex(quote.pcrDigest)} is quoted`,
      placeOf(quote, "pcrDigest"),
      selection,
    );
    return holds ? quoted : undefined;
  }
}

/** Where a field of the quote lies. */
export function placeOf({ map }: TpmQuote, path: string): Place {
  const field = map.get(path);
  return { input: MESSAGE, offset: field?.offset ?? 0, length: field?.length ?? 0 };
}

interface ReadSignature {
  readonly bytes: Uint8Array;
  readonly hash: HashName;
  /** Any of these may be the one. */
  readonly schemes: readonly { readonly scheme: SignatureScheme; readonly text: string }[];
}

/** What the signature must be, by what it says itself and by what its key allows. */
function readSignature(
  parsed: TpmSignature,
  { key, scheme: allowed }: AttestationKey,
  digestSize: number,
): ReadSignature | KeyFault {
  if (parsed.form === "rsa") {
    // Without a scheme beside it the key's counts, or else the one whose digest has the size that is quoted.
    const hash = allowed
      ? soundHashes.get(allowed.hash)
      : [...soundHashes.values()].find((name) => hashSizes[name] === digestSize);
    if (key.type !== "rsa" || hash === undefined || hashSizes[hash] !== digestSize)
      return { fault: `no signature of this key has ${parsed.signature.length} bytes and such a digest` };
    const pss = pssSchemes(hash, key.bits as number);
    const schemes =
      allowed?.scheme === Alg.RSAPSS
        ? pss
        : allowed?.scheme === Alg.RSASSA
          ? [rsassa(hash)]
          : [rsassa(hash), ...pss];
    return { bytes: parsed.signature, hash, schemes };
  }
  const { signature } = parsed;
  if (!("hash" in signature)) return { fault: "there is no signature" };
  const { sigAlg } = signature;
  const name = `${algorithmName(sigAlg)} with ${algorithmName(signature.hash)}`;
  if (allowed !== undefined && (allowed.scheme !== sigAlg || allowed.hash !== signature.hash))
    return {
      fault: `${name}, but the key signs by ${algorithmName(allowed.scheme)} with ${algorithmName(allowed.hash)}`,
    };
  const hash = soundHashes.get(signature.hash);
  if (hash === undefined) return { fault: `${name}: not a hash that is sound and known here` };
  switch (sigAlg) {
    case Alg.RSASSA:
    case Alg.RSAPSS: {
      if (key.type !== "rsa") return { fault: `${name} by a key that is not one of RSA` };
      const schemes = sigAlg === Alg.RSASSA ? [rsassa(hash)] : pssSchemes(hash, key.bits as number);
      return { bytes: signature.sig, hash, schemes };
    }
    case Alg.ECDSA: {
      const bytes = key.curve && rightAligned(curveSizes[key.curve], signature.r, signature.s);
      if (bytes === undefined) return { fault: `${name}: not a signature of the key's curve` };
      return { bytes, hash, schemes: [{ scheme: { name: "ecdsa", hash }, text: name }] };
    }
    default:
      return { fault: `${name} is not verified here` };
  }
}

const rsassa = (hash: HashName): ReadSignature["schemes"][number] => ({
  scheme: { name: "rsa-pkcs1", hash },
  text: `RSASSA with ${hash.toUpperCase()}`,
});

/** TPMs salt with as many bytes as the digest has (FIPS 186), older ones with as many as there is room for (Part 1, B.7). */
function pssSchemes(hash: HashName, bits: number): ReadSignature["schemes"] {
  const most = Math.ceil((bits - 1) / 8) - hashSizes[hash] - 2;
  return [hashSizes[hash], most].map((saltLength) => ({
    scheme: { name: "rsa-pss", hash, saltLength },
    text: `RSAPSS with ${hash.toUpperCase()}`,
  }));
}
