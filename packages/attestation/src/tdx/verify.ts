import {
  INTEL_QE_VENDOR_ID,
  parsePem,
  parseQuote,
  type Quote,
  type SgxReportFields,
  sgxAttributesOffset,
} from "@entresol/evidence";
import { MalformedError, toHex } from "@entresol/wire";
import { Checklist, type Place } from "../check.ts";
import { type Context, contextOf, isoTime, type VerificationOptions } from "../context.ts";
import { fingerprint, hexOf } from "../crypto/fingerprint.ts";
import type { PublicKey, SignatureScheme } from "../crypto/provider.ts";
import { EvidenceError } from "../errors.ts";
import { type InputHash, type Outcome, outcomeOf, type TcbState, type Window } from "../outcome.ts";
import type { TrustAnchor } from "../x509/anchor.ts";
import type { KnownCertificate, KnownCrl, Taken } from "../x509/cache.ts";
import {
  type Chain,
  chainFault,
  crlFault,
  findChain,
  nameOf,
  readCertificate,
  readCrl,
  sameBytes,
  validity,
} from "../x509/chain.ts";
import { type QuoteCheckId, quoteChecks } from "./checks.ts";
import {
  type Published,
  parseQeIdentity,
  parseTcbInfo,
  type QeIdentity,
  type TcbInfo,
} from "./collateral.ts";
import { intelRoot } from "./intel-root.ts";
import { type PckExtensions, pckExtensions } from "./pck.ts";
import {
  type Judgement,
  judgeEnclave,
  judgeTd,
  moduleIdentityOf,
  moduleName,
  type TdSvns,
} from "./tcb-level.ts";

/** What Intel publishes about a platform, as its service gives it. */
export interface QuoteCollateral {
  /** JSON, in the very bytes that were sent: the signature is over them. */
  readonly tcbInfo?: Uint8Array;
  readonly qeIdentity?: Uint8Array;
  /** Certificates of TCB-Info-Issuer-Chain: one PEM file, or DER one by one. */
  readonly signers?: readonly Uint8Array[];
  /** DER revocation list of the root, and of the CA that issued the PCK certificate. */
  readonly rootCrl?: Uint8Array;
  readonly pckCrl?: Uint8Array;
}

export interface QuoteEvidence {
  readonly quote: Uint8Array;
  readonly collateral?: QuoteCollateral;
  /** PCK chain (PEM or DER) for quotes that do not carry it. */
  readonly certificates?: readonly Uint8Array[];
}

export interface QuoteOptions extends VerificationOptions {
  /** Roots to trust in place of Intel's. */
  readonly roots?: readonly TrustAnchor[];
  /** Lowest tcbEvaluationDataNumber of TCB info and QE identity. */
  readonly minimumEvaluationDataNumber?: number;
}

/** What a quote says, once it could be read. */
export interface QuoteClaims {
  readonly quote: Quote;
  readonly pck: PckExtensions | undefined;
  /** Common name of the root key that the chain ends at. */
  readonly root: string | undefined;
  /** Of the collateral that was used. */
  readonly evaluationDataNumbers: { readonly tcbInfo: number; readonly qeIdentity: number } | undefined;
  /** Which levels decided. */
  readonly judgement: Judgement | undefined;
}

const RESERVED_ATTRIBUTES = /tdAttributes$/;
const SIGNER = "Intel SGX TCB Signing";
const PCK_NAME = "Intel SGX PCK Certificate";
const CAS: ReadonlySet<string | undefined> = new Set([
  "Intel SGX PCK Platform CA",
  "Intel SGX PCK Processor CA",
]);

const ECDSA = { name: "ecdsa", hash: "sha256" } as const satisfies SignatureScheme;

const place = (offset: number, length: number): Place => ({ input: "quote", offset, length });
/** Of a view of the quote's bytes. */
const placeOf = ({ bytes }: Quote, { byteOffset, length }: Uint8Array): Place =>
  place(byteOffset - bytes.byteOffset, length);

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

/** The collateral that was given, copied and hashed. */
type TakenCollateral = {
  readonly [Name in keyof QuoteCollateral]-?: Name extends "signers" ? readonly Taken[] : Taken | undefined;
};

/** One verification: its context, its checklist, and what has been found so far. */
class QuoteVerification {
  readonly #kind: "tdx" | "sgx";
  readonly #context: Context;
  readonly #checks: Checklist<QuoteCheckId>;
  readonly #roots: readonly TrustAnchor[];
  readonly #minimum: number | undefined;
  #rootCrl: KnownCrl | undefined;
  tcb: TcbState | undefined;
  window: Window | undefined;

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
    this.#roots = roots;
    this.#minimum = minimum;
  }

  async run(
    bytes: Uint8Array,
    certificates: readonly Taken[],
    collateral: TakenCollateral,
  ): Promise<QuoteClaims | undefined> {
    const quote = this.#read(bytes);
    if (quote === undefined) return undefined;
    this.#form(quote);
    const leaf = await this.#pckChain(quote, certificates, collateral);
    const signer = await this.#signer(collateral);
    const info = await this.#published("tcb-info", collateral.tcbInfo, parseTcbInfo, signer);
    const identity = await this.#published("qe-identity", collateral.qeIdentity, parseQeIdentity, signer);
    if (info !== undefined) this.#infoFits(info, leaf?.extensions);
    if (identity !== undefined) this.#identityFits(identity);
    this.#evaluation(info, identity);
    await this.#signatures(quote, leaf?.known);
    if (identity !== undefined) this.#qeIdentity(quote, identity);
    if (this.#kind === "tdx") this.#module(quote, info);
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

  /** What the quote looks like, before any key comes into it. */
  #form({ findings, header, bytes, trailing, body }: Quote): void {
    const checks = this.#checks;
    const reserved = findings.filter(({ kind }) => kind === "reserved-not-zero");
    for (const { path, detail, offset, length } of reserved)
      checks.fail("quote.reserved", `${path}: ${detail}`, place(offset, length));
    if (reserved.length === 0) checks.pass("quote.reserved", "all zero");
    const behind = findings.find(({ kind }) => kind === "trailing-bytes");
    if (behind !== undefined) checks.fail("quote.length", behind.detail, place(behind.offset, behind.length));
    else
      checks.pass(
        "quote.length",
        trailing.length === 0 ? `${bytes.length} bytes` : `${trailing.length} zero bytes of padding`,
      );
    const vendor = hexOf(header.qeVendorId);
    checks.decide("quote.vendor", vendor === INTEL_QE_VENDOR_ID, vendor, place(12, 16));
    if (body.tee !== "tdx") return;
    const unknown = findings.filter(
      ({ kind, path }) => kind === "unknown-bits" && RESERVED_ATTRIBUTES.test(path),
    );
    for (const { detail, offset, length } of unknown)
      checks.fail("tdx.attributes", detail, place(offset, length));
    if (unknown.length === 0) checks.pass("tdx.attributes", `0x${body.fields.tdAttributes.toString(16)}`);
  }

  /** Certificates of PEM files and DER alike. Unreadable ones are reported under `id`. */
  async #certificates(id: QuoteCheckId, files: readonly (Uint8Array | Taken)[]): Promise<KnownCertificate[]> {
    const known: KnownCertificate[] = [];
    for (const file of files) {
      const { certificates, faults } = await this.#context.cache.derived("certificates", file, (own) =>
        this.#certificatesOf(own),
      );
      known.push(...certificates);
      for (const fault of faults) this.#checks.fail(id, fault);
    }
    return known;
  }

  async #certificatesOf(file: Uint8Array) {
    const certificates: KnownCertificate[] = [];
    const faults: string[] = [];
    let ders: readonly (Uint8Array | Taken)[] = [file];
    if (file[0] === 0x2d) {
      try {
        const found: Taken[] = [];
        // What was decoded is nobody else's: it needs no other copy.
        for (const { label, data } of parsePem(file))
          if (label === "CERTIFICATE")
            found.push({ bytes: data, hash: await fingerprint(this.#context.crypto, data) });
        ders = found;
      } catch (error) {
        if (!(error instanceof MalformedError)) throw error;
        ders = [];
        faults.push(error.message);
      }
    }
    for (const der of ders) {
      const read = await readCertificate(this.#context, der);
      if ("fault" in read) faults.push(`a certificate cannot be read: ${read.fault}`);
      else certificates.push(read);
    }
    return { certificates, faults };
  }

  /** The PCK certificate with its chain, its extensions and its revocation. */
  async #pckChain(
    quote: Quote,
    given: readonly Taken[],
    collateral: TakenCollateral,
  ): Promise<{ known: KnownCertificate; extensions: PckExtensions | undefined; root: string } | undefined> {
    const checks = this.#checks;
    const { certification } = quote.qe;
    const files: (Uint8Array | Taken)[] = [...given];
    if (certification.kind === "pck-chain" || certification.kind === "pck-certificate")
      files.unshift(certification.data);
    else if (certification.kind !== "ppid" && certification.kind !== "platform-manifest") {
      checks.fail(
        "pck.chain",
        `certification data of type ${certification.type} names no PCK`,
        place(certification.offset, 6),
      );
      return undefined;
    }
    if (files.length === 0) {
      checks.skip(
        "pck.chain",
        `the quote carries no PCK certificate (certification data of type ${certification.type}): it has to be fetched for the platform`,
      );
      return undefined;
    }
    const known = await this.#certificates("pck.chain", files);
    const leaves = known.filter(({ certificate }) => !certificate.ca && certificate.subjectName === PCK_NAME);
    const leaf = leaves[0];
    if (leaf === undefined || leaves.some(({ hash }) => hash !== leaf.hash)) {
      checks.fail(
        "pck.chain",
        leaf === undefined
          ? "no PCK certificate is among those given"
          : "several PCK certificates, one is right",
        place(certification.offset, certification.length),
      );
      return undefined;
    }
    const chain = await findChain(
      this.#context,
      leaf,
      known.filter(({ hash }) => hash !== leaf.hash),
      this.#roots,
    );
    if ("fault" in chain) {
      checks.fail("pck.chain", chain.fault);
      return undefined;
    }
    const issuer = leaf.certificate.issuerName;
    if (chain.links.length !== 2 || !CAS.has(issuer)) {
      checks.fail(
        "pck.chain",
        chain.links.length !== 2
          ? `${chain.links.length} certificates below ${chain.anchor.name}, 2 are right`
          : `issued by ${issuer ?? "nobody"}, which issues no PCK certificates`,
      );
      return undefined;
    }
    checks.pass("pck.chain", [...chain.links.map(nameOf), chain.anchor.name].join(" <- "));
    const fault = chainFault(chain, this.#context.at);
    checks.decide("pck.chain.rules", fault === undefined, fault ?? "all valid and in their roles");
    this.#narrowByChain(chain);
    let extensions: PckExtensions | undefined;
    try {
      extensions = await this.#context.cache.derived(
        "PCK extensions",
        { bytes: leaf.certificate.der, hash: leaf.hash },
        () => pckExtensions(leaf.certificate),
      );
      checks.pass(
        "pck.extensions",
        `FMSPC ${toHex(extensions.fmspc)}, PCEID ${toHex(extensions.pceId)}, PCESVN ${extensions.pceSvn}`,
      );
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      checks.fail("pck.extensions", error.message);
    }
    await this.#revocation(chain, collateral);
    return { known: leaf, extensions, root: chain.anchor.name };
  }

  /** The list of the root speaks of the CA, the list of the CA of the PCK certificate. */
  async #revocation({ links, anchor }: Chain, collateral: TakenCollateral): Promise<void> {
    const [leaf, ca] = links as [KnownCertificate, KnownCertificate];
    this.#rootCrl = await this.#crl("pck.revocation", "root", collateral.rootCrl, {
      name: ca.certificate.issuer,
      spki: anchor.spki,
    });
    if (this.#rootCrl !== undefined) {
      this.#notRevoked("pck.revocation", this.#rootCrl, ca);
      if (anchor.serial !== undefined && this.#rootCrl.list.revokes(anchor.serial))
        this.#checks.fail("pck.revocation", `${anchor.name} has withdrawn itself`);
    }
    const list = await this.#crl("pck.revocation", "PCK", collateral.pckCrl, {
      name: leaf.certificate.issuer,
      spki: ca.certificate.spki,
      certificate: ca,
    });
    if (list !== undefined) this.#notRevoked("pck.revocation", list, leaf);
  }

  async #crl(
    id: QuoteCheckId,
    name: string,
    der: Taken | undefined,
    issuer: Parameters<typeof crlFault>[2],
  ): Promise<KnownCrl | undefined> {
    if (der === undefined) {
      this.#checks.skip(id, `the ${name} revocation list is not there`);
      return undefined;
    }
    const read = await readCrl(this.#context, der);
    if ("fault" in read) {
      this.#checks.fail(id, `the ${name} revocation list cannot be read: ${read.fault}`);
      return undefined;
    }
    const fault = await crlFault(this.#context, read, issuer);
    if (fault !== undefined) {
      this.#checks.fail(id, fault);
      return undefined;
    }
    this.#narrow(read.list.thisUpdate, read.list.nextUpdate as number);
    return read;
  }

  #notRevoked(id: QuoteCheckId, { list }: KnownCrl, known: KnownCertificate): void {
    const { serial } = known.certificate;
    if (list.revokes(serial))
      this.#checks.fail(id, `${nameOf(known)} (serial ${toHex(serial)}) is withdrawn by its issuer`);
    else this.#checks.pass(id, `${nameOf(known)} is not among ${list.count} entries of its issuer`);
  }

  /** The key that signs TCB info and identities. */
  async #signer(collateral: TakenCollateral): Promise<KnownCertificate | undefined> {
    const checks = this.#checks;
    const id = "collateral.signer";
    if (collateral.signers.length === 0) {
      checks.skip(id, "the TCB signing chain is not there");
      return undefined;
    }
    const known = await this.#certificates(id, collateral.signers);
    // Several are there when one takes over from the other: they have the same key.
    const { at } = this.#context;
    const leaves = known.filter(({ certificate }) => !certificate.ca && certificate.subjectName === SIGNER);
    const leaf = leaves.find((one) => validity(one, at) === undefined) ?? leaves[0];
    if (leaf === undefined) {
      checks.fail(id, `no certificate of ${SIGNER} is among those given`);
      return undefined;
    }
    const chain = await findChain(
      this.#context,
      leaf,
      known.filter((one) => one !== leaf),
      this.#roots,
    );
    if ("fault" in chain) {
      checks.fail(id, chain.fault);
      return undefined;
    }
    const fault =
      chain.links.length === 1
        ? chainFault(chain, this.#context.at)
        : `${chain.links.length} certificates below ${chain.anchor.name}, 1 is right`;
    if (fault !== undefined) {
      checks.fail(id, fault);
      return undefined;
    }
    this.#narrowByChain(chain);
    const root =
      this.#rootCrl ??
      (await this.#crl(id, "root", collateral.rootCrl, {
        name: leaf.certificate.issuer,
        spki: chain.anchor.spki,
      }));
    if (root !== undefined) this.#notRevoked(id, root, leaf);
    // One that is revoked signs nothing any more; without a list the check is not-run and the signatures are judged all the same.
    return checks.stateOf(id) === "failed" ? undefined : leaf;
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
    this.#narrow(issueDate, nextUpdate);
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

  #qeIdentity({ qe }: Quote, identity: QeIdentity): void {
    const { report, reportBytes } = qe;
    const wrong: string[] = [];
    const masked = (name: string, value: Uint8Array, mask: Uint8Array, wanted: Uint8Array): void => {
      if (
        !value.every(
          (byte, i) => (byte & (mask[i] as number)) === ((wanted[i] as number) & (mask[i] as number)),
        )
      )
        wrong.push(`${name} ${toHex(value)}, ${toHex(wanted)} under the mask ${toHex(mask)} is right`);
    };
    masked("MISCSELECT", reportBytes.subarray(16, 20), identity.miscSelectMask, identity.miscSelect);
    masked(
      "ATTRIBUTES",
      reportBytes.subarray(sgxAttributesOffset, sgxAttributesOffset + 16),
      identity.attributesMask,
      identity.attributes,
    );
    if (!sameBytes(report.mrSigner, identity.mrSigner))
      wrong.push(`MRSIGNER ${toHex(report.mrSigner)}, ${toHex(identity.mrSigner)} is right`);
    if (report.isvProdId !== identity.isvProdId)
      wrong.push(`ISVPRODID ${report.isvProdId}, ${identity.isvProdId} is right`);
    if (isDebug(report)) wrong.push("a debugger may read the quoting enclave");
    this.#checks.decide(
      "qe.identity",
      wrong.length === 0,
      wrong.length === 0 ? `${identity.id}, ISVSVN ${report.isvSvn}` : wrong.join("; "),
    );
  }

  /** The TDX module's signer and attributes, against its identity. */
  #module(quote: Quote, info: TcbInfo | undefined): void {
    const { body } = quote;
    if (body.tee !== "tdx" || info === undefined) return;
    const { teeTcbSvn, mrSignerSeam, seamAttributes } = body.fields;
    const checks = this.#checks;
    const name =
      (teeTcbSvn[1] as number) > 0 ? moduleName(teeTcbSvn[1] as number) : "the module without a version";
    const identity = moduleIdentityOf(info, teeTcbSvn);
    const where = placeOf(quote, mrSignerSeam);
    if (identity === undefined) {
      checks.fail("tdx.module", `TCB info has no identity of ${name}`, where);
      return;
    }
    const wrong: string[] = [];
    if (!sameBytes(mrSignerSeam, identity.mrSigner))
      wrong.push(`MRSIGNERSEAM ${toHex(mrSignerSeam)}, ${toHex(identity.mrSigner)} is right`);
    if (seamAttributes !== 0n) wrong.push(`SEAMATTRIBUTES 0x${seamAttributes.toString(16)}, 0 is right`);
    const attributes = Uint8Array.from({ length: 8 }, (_, i) =>
      Number((seamAttributes >> BigInt(8 * i)) & 0xffn),
    );
    if (
      !attributes.every(
        (byte, i) =>
          (byte & (identity.attributesMask[i] as number)) ===
          ((identity.attributes[i] as number) & (identity.attributesMask[i] as number)),
      )
    )
      wrong.push(
        `SEAMATTRIBUTES are not ${toHex(identity.attributes)} under the mask ${toHex(identity.attributesMask)}`,
      );
    checks.decide(
      "tdx.module",
      wrong.length === 0,
      wrong.length === 0 ? `${name}, SVN ${teeTcbSvn[0]}` : wrong.join("; "),
      where,
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

  #narrow(from: number, to: number): void {
    const window = this.window;
    this.window =
      window === undefined
        ? { from, to }
        : { from: Math.max(from, window.from), to: Math.min(to, window.to) };
  }

  #narrowByChain({ links }: Chain): void {
    for (const { certificate } of links) this.#narrow(certificate.notBefore, certificate.notAfter);
  }
}

const isDebug = ({ attributeFlags }: SgxReportFields): boolean => (attributeFlags & 2n) !== 0n;
