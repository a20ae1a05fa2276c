import { parseQuote, type Quote } from "@entresol/evidence";
import { MalformedError, toHex } from "@entresol/wire";
import { Checklist } from "../check.ts";
import { type Context, contextOf, isoTime } from "../context.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import type { PublicKey, SignatureScheme } from "../crypto/provider.ts";
import { EvidenceError } from "../errors.ts";
import { type InputHash, type Outcome, outcomeOf, type TcbState, type Window } from "../outcome.ts";
import type { TrustAnchor } from "../x509/anchor.ts";
import type { KnownCertificate, Taken } from "../x509/cache.ts";
import { nameOf, sameBytes } from "../x509/chain.ts";
import { type QuoteCheckId, quoteChecks } from "./checks.ts";
import {
  type Published,
  parseQeIdentity,
  parseTcbInfo,
  type QeIdentity,
  type TcbInfo,
} from "./collateral.ts";
import { checkForm, checkModule, checkQeIdentity, place, placeOf } from "./enclave-checks.ts";
import type { QuoteClaims, QuoteEvidence, QuoteOptions, TakenCollateral } from "./evidence.ts";
import { intelRoot } from "./intel-root.ts";
import type { PckExtensions } from "./pck.ts";
import { QuoteKeys } from "./quote-keys.ts";
import { type Judgement, judgeEnclave, judgeTd, type TdSvns } from "./tcb-level.ts";

const ECDSA = { name: "ecdsa", hash: "sha256" } as const satisfies SignatureScheme;

/** Undefined for bytes that are no key. */
async function orUndefined(make: () => Promise<PublicKey>): Promise<PublicKey | undefined> {
  try {
    return await make();
  } catch (error) {
    if (error instanceof EvidenceError && error.code === "unsupported-key") return undefined;
    throw error;
  }
}

/** Verifies a TD quote for a given time. Never throws because of the evidence. */
export function verifyTdx(
  evidence: QuoteEvidence,
  options: QuoteOptions = {},
): Promise<Outcome<QuoteClaims>> {
  return verifyQuote("tdx", evidence, options);
}

/** Verifies an SGX quote for a given time. Never throws because of the evidence. */
export function verifySgx(
  evidence: QuoteEvidence,
  options: QuoteOptions = {},
): Promise<Outcome<QuoteClaims>> {
  return verifyQuote("sgx", evidence, options);
}

async function verifyQuote(
  kind: "tdx" | "sgx",
  evidence: QuoteEvidence,
  options: QuoteOptions,
): Promise<Outcome<QuoteClaims>> {
  const context = contextOf(options);
  const given = evidence.collateral ?? {};
  const { signers = [] } = given;
  const { certificates = [] } = evidence;
  const named: [name: string, bytes: Uint8Array][] = [["quote", evidence.quote]];
  if (given.tcbInfo !== undefined) named.push(["TCB info", given.tcbInfo]);
  if (given.qeIdentity !== undefined) named.push(["QE identity", given.qeIdentity]);
  for (let i = 0; i < signers.length; i++)
    named.push([`TCB signing certificate ${i}`, signers[i] as Uint8Array]);
  if (given.rootCrl !== undefined) named.push(["root CRL", given.rootCrl]);
  if (given.pckCrl !== undefined) named.push(["PCK CRL", given.pckCrl]);
  for (const [i, bytes] of certificates.entries()) named.push([`certificate ${i}`, bytes]);
  for (const [i, { spki }] of (options.roots ?? []).entries()) named.push([`trust root ${i}`, spki]);
  // Judged is what was hashed: copies, which nobody can write to meanwhile.
  const taken = await context.cache.take(named.map(([, bytes]) => bytes));
  const inputs = taken.map(
    ({ hash }, i): InputHash => ({ name: (named[i] as [string, unknown])[0], sha256: hash }),
  );
  let at = 0;
  const next = (): Taken => taken[at++] as Taken;
  const quote = next().bytes;
  const collateral: TakenCollateral = {
    tcbInfo: given.tcbInfo && next(),
    qeIdentity: given.qeIdentity && next(),
    signers: signers.map(next),
    rootCrl: given.rootCrl && next(),
    pckCrl: given.pckCrl && next(),
  };
  const chain = certificates.map(next);
  // An empty list trusts nobody.
  const anchors = options.roots?.map((root) => ({ ...root, spki: next().bytes })) ?? [intelRoot];
  const checks = new Checklist<QuoteCheckId>(quoteChecks);
  if (kind === "sgx") checks.drop("tdx.module", "tdx.attributes");
  if (options.minimumEvaluationDataNumber === undefined) checks.drop("collateral.evaluation");
  const minimum = options.minimumEvaluationDataNumber;
  const verification = new QuoteVerification(kind, context, checks, anchors, minimum);
  const claims = await verification.run(quote, chain, collateral);
  return outcomeOf({
    kind,
    checks: checks.results(),
    inputs,
    at: context.at,
    tcb: verification.tcb,
    window: verification.window,
    claims,
  });
}

/** One verification: its context, its checklist, and what has been found so far. */
class QuoteVerification {
  readonly #kind: "tdx" | "sgx";
  readonly #context: Context;
  readonly #checks: Checklist<QuoteCheckId>;
  readonly #keys: QuoteKeys;
  readonly #minimum: number | undefined;
  tcb: TcbState | undefined;

  constructor(
    kind: "tdx" | "sgx",
    context: Context,
    checks: Checklist<QuoteCheckId>,
    roots: readonly TrustAnchor[],
    minimum: number | undefined,
  ) {
    this.#kind = kind;
    this.#context = context;
    this.#checks = checks;
    this.#keys = new QuoteKeys(context, checks, roots);
    this.#minimum = minimum;
  }

  get window(): Window | undefined {
    return this.#keys.window;
  }

  async run(
    bytes: Uint8Array,
    certificates: readonly Taken[],
    collateral: TakenCollateral,
  ): Promise<QuoteClaims | undefined> {
    const quote = this.#read(bytes);
    if (quote === undefined) return undefined;
    checkForm(this.#checks, quote);
    const leaf = await this.#keys.pckChain(quote, certificates, collateral);
    const signer = await this.#keys.signer(collateral);
    const info = await this.#published("tcb-info", collateral.tcbInfo, parseTcbInfo, signer);
    const identity = await this.#published("qe-identity", collateral.qeIdentity, parseQeIdentity, signer);
    if (info !== undefined) this.#infoFits(info, leaf?.extensions);
    if (identity !== undefined) this.#identityFits(identity);
    this.#evaluation(info, identity);
    await this.#signatures(quote, leaf?.known);
    if (identity !== undefined) checkQeIdentity(this.#checks, quote, identity);
    if (this.#kind === "tdx") checkModule(this.#checks, quote, info);
    const judgement =
      leaf?.extensions && info && identity ? this.#judge(quote, leaf.extensions, info, identity) : undefined;
    return {
      quote,
      pck: leaf?.extensions,
      root: leaf?.root,
      evaluationDataNumbers:
        info && identity
          ? { tcbInfo: info.evaluationDataNumber, qeIdentity: identity.evaluationDataNumber }
          : undefined,
      judgement,
    };
  }

  #read(bytes: Uint8Array): Quote | undefined {
    try {
      const quote = parseQuote(bytes);
      const { version } = quote.header;
      this.#checks.decide(
        "quote.form",
        quote.body.tee === this.#kind,
        quote.body.tee === this.#kind
          ? `version ${version}, body type ${quote.body.type}`
          : `the quote is of ${quote.body.tee.toUpperCase()}`,
        place(0, 8),
      );
      return quote.body.tee === this.#kind ? quote : undefined;
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.#checks.fail("quote.form", error.message, place(error.offset, 4));
      return undefined;
    }
  }

  /** Reads a signed document of Intel's, and checks signature and window. */
  async #published<T extends Published>(
    kind: "tcb-info" | "qe-identity",
    input: Taken | undefined,
    parse: (bytes: Uint8Array) => T,
    signer: KnownCertificate | undefined,
  ): Promise<T | undefined> {
    const checks = this.#checks;
    const { cache, at } = this.#context;
    const name = kind === "tcb-info" ? "TCB info" : "the QE identity";
    if (input === undefined) {
      checks.skip(`${kind}.form`, `${name} is not there`);
      return undefined;
    }
    let document: T;
    try {
      document = await cache.derived(kind, input, parse);
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      checks.fail(`${kind}.form`, error.message);
      return undefined;
    }
    if (signer !== undefined) {
      const { spki } = signer.certificate;
      const good = await cache.holds(`${kind} ${input.hash} ${signer.hash}`, async () =>
        this.#context.crypto.verify(
          await cache.key(spki, signer.hash),
          ECDSA,
          document.signature,
          document.body,
        ),
      );
      checks.decide(
        `${kind}.signature`,
        good,
        good ? `by ${nameOf(signer)}` : `${nameOf(signer)} did not sign these bytes`,
      );
    }
    const { issueDate, nextUpdate } = document;
    const current = at >= issueDate && at < nextUpdate;
    checks.decide(
      `${kind}.window`,
      current,
      at < issueDate
        ? `issued at ${isoTime(issueDate)}, after the time judged for`
        : current
          ? `until ${isoTime(nextUpdate)}`
          : `ran out at ${isoTime(nextUpdate)}`,
    );
    this.#keys.narrow(issueDate, nextUpdate);
    return document;
  }

  #infoFits(info: TcbInfo, pck: PckExtensions | undefined): void {
    const checks = this.#checks;
    const wanted = this.#kind === "tdx" ? "TDX" : "SGX";
    const wrong: string[] = [];
    if (info.id !== wanted) wrong.push(`of ${info.id}, ${wanted} is needed`);
    if (wanted === "TDX" && info.version !== 3) wrong.push(`version ${info.version}, 3 is needed`);
    if (info.tcbType !== 0) wrong.push(`TCB type ${info.tcbType} is not known`);
    checks.decide(
      "tcb-info.form",
      wrong.length === 0,
      wrong.length === 0 ? `${info.id}, version ${info.version}` : wrong.join("; "),
    );
    if (pck === undefined) return;
    const fits = sameBytes(info.fmspc, pck.fmspc) && sameBytes(info.pceId, pck.pceId);
    checks.decide(
      "tcb-info.platform",
      fits,
      fits
        ? `FMSPC ${toHex(pck.fmspc)}, PCEID ${toHex(pck.pceId)}`
        : `for FMSPC ${toHex(info.fmspc)}, PCEID ${toHex(info.pceId)}; the platform has ${toHex(pck.fmspc)}, ${toHex(pck.pceId)}`,
    );
  }

  #identityFits(identity: QeIdentity): void {
    const wanted = this.#kind === "tdx" ? "TD_QE" : "QE";
    const fits = identity.id === wanted;
    this.#checks.decide(
      "qe-identity.form",
      fits,
      fits ? `${identity.id}, version ${identity.version}` : `of ${identity.id}, ${wanted} is needed`,
    );
  }

  #evaluation(info: TcbInfo | undefined, identity: QeIdentity | undefined): void {
    const minimum = this.#minimum;
    if (minimum === undefined || info === undefined || identity === undefined) return;
    const numbers = `TCB info ${info.evaluationDataNumber}, QE identity ${identity.evaluationDataNumber}`;
    const lowest = Math.min(info.evaluationDataNumber, identity.evaluationDataNumber);
    this.#checks.decide(
      "collateral.evaluation",
      lowest >= minimum,
      lowest >= minimum ? numbers : `${numbers}; at least ${minimum} is asked for`,
    );
  }

  /** PCK -> QE report -> attestation key -> quote. */
  async #signatures(quote: Quote, leaf: KnownCertificate | undefined): Promise<void> {
    const checks = this.#checks;
    const { cache, crypto } = this.#context;
    const { header, bytes, signedBytes, signature, attestationKey, qe } = quote;
    // From the attestation key to the authentication data: the same in every quote by this key. Version 3 divides the bytes otherwise.
    const certified = bytes.subarray(signedBytes.length + 4 + signature.length, qe.certification.offset);
    const name = `enclave ${header.version === 3 ? 3 : 4} ${await fingerprint(crypto, certified)}`;
    if (leaf !== undefined) {
      const { spki } = leaf.certificate;
      const key = await orUndefined(() => cache.key(spki, leaf.hash));
      const good =
        key?.curve === "P-256" &&
        (await cache.holds(`${name} ${leaf.hash}`, () =>
          crypto.verify(key, ECDSA, qe.reportSignature, qe.reportBytes),
        ));
      checks.decide(
        "qe.signature",
        good,
        good ? "by the PCK" : "the PCK did not sign the quoting enclave's report",
        placeOf(quote, qe.reportSignature),
      );
    }
    const { reportData } = qe.report;
    const bound = await cache.holds(name, async () => {
      const hash = await crypto.digest("sha256", attestationKey, qe.authData);
      return (
        sameBytes(hash, reportData.subarray(0, 32)) && reportData.subarray(32).every((byte) => byte === 0)
      );
    });
    checks.decide(
      "qe.binding",
      bound,
      bound
        ? "SHA-256 of attestation key and authentication data, then zeros"
        : "the report data is not the hash of attestation key and authentication data, followed by zeros",
      placeOf(quote, reportData),
    );
    // A point that is not on the curve signs nothing.
    const key = await orUndefined(() => cache.point("P-256", attestationKey, name));
    const good = key !== undefined && (await crypto.verify(key, ECDSA, signature, signedBytes));
    checks.decide(
      "quote.signature",
      good,
      good ? "by the attestation key" : "the attestation key did not sign these bytes",
      place(0, signedBytes.length),
      placeOf(quote, signature),
    );
  }

  #judge(quote: Quote, pck: PckExtensions, info: TcbInfo, identity: QeIdentity): Judgement | undefined {
    const { body, qe } = quote;
    const checks = this.#checks;
    // Levels of another platform, or of SGX, say nothing about this one.
    if (
      checks.stateOf("tcb-info.platform") === "failed" ||
      checks.stateOf("tcb-info.form") === "failed" ||
      checks.stateOf("qe-identity.form") === "failed"
    )
      return undefined;
    const svns: TdSvns | undefined =
      body.tee === "tdx"
        ? {
            current: body.fields.teeTcbSvn,
            afterRelaunch: body.type === 3 ? body.fields.teeTcbSvn2 : undefined,
          }
        : undefined;
    const judgement =
      svns === undefined
        ? judgeEnclave(info, identity, pck, qe.report.isvSvn)
        : judgeTd(info, identity, pck, qe.report.isvSvn, svns);
    const { state } = judgement;
    this.tcb = state;
    const parts = `platform ${state.platform}${state.module === undefined ? "" : `, TDX module ${state.module}`}, QE ${state.qe}`;
    if (state.status === "Unsupported") checks.fail("tcb.level", `no published level fits: ${parts}`);
    else if (state.status === "Revoked") checks.fail("tcb.level", `revoked: ${parts}`);
    else checks.pass("tcb.level", `${state.status}: ${parts}`);
    return judgement;
  }
}
