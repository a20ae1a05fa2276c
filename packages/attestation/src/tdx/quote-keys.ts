import { parsePem, type Quote } from "@entresol/evidence";
import { MalformedError, toHex } from "@entresol/wire";
import type { Checklist } from "../check.ts";
import type { Context } from "../context.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import type { Window } from "../outcome.ts";
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
  validity,
} from "../x509/chain.ts";
import type { QuoteCheckId } from "./checks.ts";
import { place } from "./enclave-checks.ts";
import type { TakenCollateral } from "./evidence.ts";
import { type PckExtensions, pckExtensions } from "./pck.ts";

const SIGNER = "Intel SGX TCB Signing";
const PCK_NAME = "Intel SGX PCK Certificate";
const CAS: ReadonlySet<string | undefined> = new Set([
  "Intel SGX PCK Platform CA",
  "Intel SGX PCK Processor CA",
]);

/** The platform's key, and what a certificate says of it. */
export interface PlatformKey {
  readonly known: KnownCertificate;
  readonly extensions: PckExtensions | undefined;
  /** Common name of the root key that its chain ends at. */
  readonly root: string;
}

/** The keys behind a quote: certificates, chains and revocation lists, and the time in which all of them are valid. */
export class QuoteKeys {
  readonly #context: Context;
  readonly #checks: Checklist<QuoteCheckId>;
  readonly #roots: readonly TrustAnchor[];
  #rootCrl: KnownCrl | undefined;
  window: Window | undefined;

  constructor(context: Context, checks: Checklist<QuoteCheckId>, roots: readonly TrustAnchor[]) {
    this.#context = context;
    this.#checks = checks;
    this.#roots = roots;
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
  async pckChain(
    quote: Quote,
    given: readonly Taken[],
    collateral: TakenCollateral,
  ): Promise<PlatformKey | undefined> {
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
    this.narrow(read.list.thisUpdate, read.list.nextUpdate as number);
    return read;
  }

  #notRevoked(id: QuoteCheckId, { list }: KnownCrl, known: KnownCertificate): void {
    const { serial } = known.certificate;
    if (list.revokes(serial))
      this.#checks.fail(id, `${nameOf(known)} (serial ${toHex(serial)}) is withdrawn by its issuer`);
    else this.#checks.pass(id, `${nameOf(known)} is not among ${list.count} entries of its issuer`);
  }

  /** The key that signs TCB info and identities. */
  async signer(collateral: TakenCollateral): Promise<KnownCertificate | undefined> {
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

  /** What is used is valid in this time only. */
  narrow(from: number, to: number): void {
    const window = this.window;
    this.window =
      window === undefined
        ? { from, to }
        : { from: Math.max(from, window.from), to: Math.min(to, window.to) };
  }

  #narrowByChain({ links }: Chain): void {
    for (const { certificate } of links) this.narrow(certificate.notBefore, certificate.notAfter);
  }
}
