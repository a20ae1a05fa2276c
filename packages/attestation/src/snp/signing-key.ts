import type { SnpReport } from "@entresol/evidence";
import { MalformedError, toHex } from "@entresol/wire";
import type { Checklist, Place } from "../check.ts";
import type { Context } from "../context.ts";
import type { TrustAnchor } from "../x509/anchor.ts";
import type { KnownCertificate, Taken } from "../x509/cache.ts";
import { chainFault, crlFault, findChain, nameOf, readCertificate, readCrl } from "../x509/chain.ts";
import { type AmdAuthority, amdAuthorities, type SnpLine } from "./amd-keys.ts";
import type { SnpCheckId } from "./checks.ts";
import { type KeyExtensions, keyExtensions } from "./key-extensions.ts";

/** Bytes of the report. */
export const report = (offset: number, length: number): Place => ({ input: "report", offset, length });

const leafNames = { vcek: "SEV-VCEK", vlek: "SEV-VLEK" } as const;
type LeafKind = keyof typeof leafNames;

/** The certificate of the key that signed, and those that came with it. */
export interface Leaf {
  readonly known: KnownCertificate;
  readonly others: readonly KnownCertificate[];
  readonly kind: LeafKind;
  readonly extensions: KeyExtensions | undefined;
}

/** The key behind a report: its certificate, the chain to AMD's root, revocation. */
export class SigningKeys {
  readonly #context: Context;
  readonly #checks: Checklist<SnpCheckId>;
  readonly #roots: readonly TrustAnchor[] | undefined;
  /** Inputs by their bytes, which have been hashed. Those of a certificate table are not among them. */
  readonly #taken: ReadonlyMap<Uint8Array, Taken>;

  constructor(
    context: Context,
    checks: Checklist<SnpCheckId>,
    roots: readonly TrustAnchor[] | undefined,
    taken: readonly Taken[],
  ) {
    this.#taken = new Map(taken.map((one) => [one.bytes, one]));
    this.#context = context;
    this.#checks = checks;
    this.#roots = roots;
  }

  /** Finds the certificate of the signing key among those given. */
  async find(parsed: SnpReport, given: readonly Uint8Array[]): Promise<Leaf | undefined> {
    const checks = this.#checks;
    const known: KnownCertificate[] = [];
    const unreadable: string[] = [];
    for (const der of given) {
      const read = await readCertificate(this.#context, this.#taken.get(der) ?? der);
      if ("fault" in read) unreadable.push(read.fault);
      else known.push(read);
    }
    for (const fault of unreadable) checks.fail("snp.chain", `a certificate cannot be read: ${fault}`);
    const { signingKey } = parsed;
    if (signingKey === "none" || signingKey === undefined) {
      checks.fail(
        "snp.signing-key",
        signingKey === "none"
          ? "the report says that no key signed it"
          : "the report names a key of a reserved kind",
        report(0x48, 4),
      );
      return undefined;
    }
    if (signingKey === "vcek" && parsed.flags.has("MASK_CHIP_KEY")) {
      checks.fail(
        "snp.signing-key",
        "the host masked the chip's key, and the report names it all the same",
        report(0x48, 4),
      );
      return undefined;
    }
    const leaves = known.filter(({ certificate }) => !certificate.ca);
    const fitting = leaves.filter(({ certificate }) => certificate.subjectName === leafNames[signingKey]);
    const known1 = fitting[0];
    if (known1 === undefined) {
      const other = leaves[0];
      if (other !== undefined)
        checks.fail(
          "snp.signing-key",
          `the report is signed by a ${signingKey.toUpperCase()}, the certificate is of ${nameOf(other)}`,
          report(0x48, 4),
        );
      else if (unreadable.length === 0)
        checks.skip(
          "snp.signing-key",
          `the ${signingKey.toUpperCase()} certificate is missing: ask AMD's key distribution service, or the host, for it`,
        );
      return undefined;
    }
    if (fitting.length > 1) {
      checks.fail(
        "snp.signing-key",
        `${fitting.length} ${signingKey.toUpperCase()} certificates, one is right`,
      );
      return undefined;
    }
    checks.pass("snp.signing-key", `${signingKey.toUpperCase()}`, report(0x48, 4));
    let extensions: KeyExtensions | undefined;
    try {
      const { certificate, hash } = known1;
      extensions = await this.#context.cache.derived("key extensions", { bytes: certificate.der, hash }, () =>
        keyExtensions(certificate),
      );
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      checks.fail("snp.key.extensions", error.message);
    }
    return { known: known1, others: known.filter((one) => one !== known1), kind: signingKey, extensions };
  }

  /** Chain, its rules, revocation. Gives the name of the root. */
  async chain(leaf: Leaf, line: SnpLine, crls: readonly Uint8Array[]): Promise<string | undefined> {
    const checks = this.#checks;
    const context = this.#context;
    const authorities = this.#roots === undefined ? amdAuthorities.filter((one) => one.line === line) : [];
    const intermediateRole = leaf.kind === "vcek" ? "ask" : "asvk";
    const builtIn = authorities.find(({ role }) => role === intermediateRole);
    const ark = authorities.filter(({ role }) => role === "ark");
    let chain = await findChain(context, leaf.known, leaf.others, this.#roots ?? ark);
    let intermediate: AmdAuthority | undefined;
    if ("fault" in chain && builtIn !== undefined) {
      const direct = await findChain(context, leaf.known, [], [builtIn]);
      if (!("fault" in direct)) {
        chain = direct;
        intermediate = builtIn;
      }
    }
    if ("fault" in chain) {
      checks.fail("snp.chain", chain.fault);
      return undefined;
    }
    const { links, anchor } = chain;
    const issuer = leaf.known.certificate.issuerName;
    const expected = leaf.kind === "vcek" ? `SEV-${line}` : `SEV-VLEK-${line}`;
    const length = intermediate === undefined ? 2 : 1;
    if (issuer !== expected || links.length !== length) {
      checks.fail(
        "snp.chain",
        issuer !== expected
          ? `the ${leaf.kind.toUpperCase()} is issued by ${issuer ?? "nobody"}, not by ${expected}`
          : `${links.length} certificates below ${anchor.name}, ${length} are right`,
      );
      return undefined;
    }
    const root = intermediate === undefined ? anchor.name : `ARK-${line}`;
    checks.pass(
      "snp.chain",
      `${[...links.map(nameOf), anchor.name].join(" <- ")}${intermediate ? ", a key of AMD's that is built in" : ""}`,
    );
    const fault = chainFault(chain, context.at);
    checks.decide("snp.chain.rules", fault === undefined, fault ?? "all valid and in their roles");

    const above = links[1];
    const rootSerial = intermediate === undefined ? anchor.serial : ark[0]?.serial;
    await this.#revocation(
      crls,
      {
        name: above?.certificate.issuer,
        root,
        spki: intermediate === undefined ? anchor.spki : (ark[0] as AmdAuthority).spki,
      },
      [
        {
          name: above === undefined ? (intermediate as AmdAuthority).name : nameOf(above),
          serial: above?.certificate.serial ?? (intermediate as AmdAuthority).serial,
        },
        { name: nameOf(leaf.known), serial: leaf.known.certificate.serial },
        ...(rootSerial === undefined ? [] : [{ name: root, serial: rootSerial }]),
      ],
    );
    return root;
  }

  /** A list that was given must be authentic and current, and must not name what is used. Without one nothing is judged. */
  async #revocation(
    crls: readonly Uint8Array[],
    issuer: { readonly name: Uint8Array | undefined; readonly root: string; readonly spki: Uint8Array },
    used: readonly { readonly name: string; readonly serial: Uint8Array }[],
  ): Promise<void> {
    const checks = this.#checks;
    if (crls.length === 0) {
      checks.skip("snp.revocation", `no revocation list of ${issuer.root} is there`);
      return;
    }
    for (const der of crls) {
      const read = await readCrl(this.#context, this.#taken.get(der) ?? der);
      if ("fault" in read) {
        checks.fail("snp.revocation", `a revocation list cannot be read: ${read.fault}`);
        continue;
      }
      const { list } = read;
      // The built-in key has no certificate whose bytes of the name could be compared: then the common name, and the signature.
      const name = issuer.name ?? (list.issuerName === issuer.root ? list.issuer : new Uint8Array(0));
      const fault = await crlFault(this.#context, read, { name, spki: issuer.spki });
      if (fault !== undefined) {
        checks.fail("snp.revocation", fault);
        continue;
      }
      // Serial 0 is every VCEK's, so no list can mean one by it.
      const withdrawn = used.filter(
        ({ serial }) => serial.some((byte) => byte !== 0) && list.revokes(serial),
      );
      for (const { name: who, serial } of withdrawn)
        checks.fail("snp.revocation", `${who} (serial ${toHex(serial)}) is withdrawn by ${issuer.root}`);
      if (withdrawn.length === 0)
        checks.pass("snp.revocation", `${list.count} entries of ${issuer.root}, none of them used`);
    }
  }
}
