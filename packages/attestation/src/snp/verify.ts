import {
  parseSnpReport,
  SNP_REPORT_SIZE,
  SNP_SIGNED_SIZE,
  type SnpReport,
  type SnpTcb,
  snpTcb,
} from "@entresol/evidence";
import { MalformedError, toHex } from "@entresol/wire";
import { Checklist, type Place } from "../check.ts";
import { type Context, contextOf, type VerificationOptions } from "../context.ts";
import { type InputHash, type Outcome, outcomeOf } from "../outcome.ts";
import type { TrustAnchor } from "../x509/anchor.ts";
import type { KnownCertificate, Taken } from "../x509/cache.ts";
import { chainFault, crlFault, findChain, nameOf, readCertificate, readCrl } from "../x509/chain.ts";
import { type AmdAuthority, amdAuthorities, type SnpLine } from "./amd-keys.ts";
import { withTable } from "./certificate-table.ts";
import { type SnpCheckId, snpChecks } from "./checks.ts";
import { judgeIdentity, type LaunchIdentity } from "./id-block.ts";
import { type KeyExtensions, keyExtensions, type TcbComponent } from "./key-extensions.ts";

/** An SNP report and what came with it. */
export interface SnpEvidence {
  /** ATTESTATION_REPORT, 1184 bytes. */
  readonly report: Uint8Array;
  /** DER certificates in any order: the VCEK or VLEK; ASK or ASVK and ARK where the built-in ones are not to be used. */
  readonly certificates?: readonly Uint8Array[];
  /** DER revocation lists of the ARK. Without one, revocation is not judged. */
  readonly crls?: readonly Uint8Array[];
  /** What the host gave with an extended guest request: certificates and lists besides those above. */
  readonly certificateTable?: Uint8Array;
  /** What the guest's owner signed at launch. */
  readonly identity?: LaunchIdentity;
}

export interface SnpOptions extends VerificationOptions {
  /** Roots to trust in place of AMD's. The built-in intermediates are not used then. */
  readonly roots?: readonly TrustAnchor[];
}

/** What a report says, once it could be read. */
export interface SnpClaims {
  readonly report: SnpReport;
  /** Whose chain signed; undefined when that could not be told. */
  readonly line: SnpLine | undefined;
  /** TCB versions as the product lays them out; undefined with `line`. */
  readonly tcb: Readonly<Record<"current" | "reported" | "committed" | "launch", SnpTcb>> | undefined;
  readonly signingKey: "vcek" | "vlek" | "none" | undefined;
  /** Common name of the root key that the chain ends at. */
  readonly root: string | undefined;
  /** Whose VLEK signed. */
  readonly cspId: string | undefined;
  /** Current TCB above committed TCB somewhere: firmware that can still be taken back. */
  readonly provisionalFirmware: boolean;
  /** CHIP_ID is all zero. */
  readonly chipIdMasked: boolean;
}

const lines: readonly string[] = ["Milan", "Genoa", "Turin"] satisfies readonly SnpLine[];
const isLine = (text: string | undefined): text is SnpLine => text !== undefined && lines.includes(text);

const leafNames = { vcek: "SEV-VCEK", vlek: "SEV-VLEK" } as const;
type LeafKind = keyof typeof leafNames;

/** Order of P-384, big-endian. */
const ORDER = Uint8Array.from(
  "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973".match(
    /../g,
  ) ?? [],
  (pair) => Number.parseInt(pair, 16),
);

/** Is the number, big-endian and of the order's size, below it? */
function belowOrder(scalar: Uint8Array): boolean {
  for (let i = 0; i < ORDER.length; i++) {
    const difference = (scalar[i] as number) - (ORDER[i] as number);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

const SIGNATURE_SIZE = 512;
const SCALAR = 48;

const report = (offset: number, length: number): Place => ({ input: "report", offset, length });
const componentNames = ["fmc", "bootloader", "tee", "snp", "microcode"] as const;

function tcbText(tcb: Readonly<Partial<Record<TcbComponent, number>>>): string {
  let text = "";
  for (const name of componentNames)
    if (tcb[name] !== undefined) text += `${text === "" ? "" : ", "}${name} ${tcb[name]}`;
  return text;
}

/** Verifies an SNP report for a given time. Never throws because of the evidence. */
export async function verifySnp(
  evidence: SnpEvidence,
  options: SnpOptions = {},
): Promise<Outcome<SnpClaims>> {
  const context = contextOf(options);
  const { certificates = [], crls = [], certificateTable, identity } = evidence;
  const named: [name: string, bytes: Uint8Array][] = [["report", evidence.report]];
  for (const [i, der] of certificates.entries()) named.push([`certificate ${i}`, der]);
  for (const [i, der] of crls.entries()) named.push([`crl ${i}`, der]);
  for (const [i, { spki }] of (options.roots ?? []).entries()) named.push([`trust root ${i}`, spki]);
  if (certificateTable !== undefined) named.push(["certificate-table", certificateTable]);
  if (identity !== undefined) named.push(["id-block", identity.idBlock]);
  if (identity?.idAuth !== undefined) named.push(["id-auth", identity.idAuth]);
  // Judged is what was hashed: copies, which nobody can write to meanwhile.
  const taken = await context.cache.take(named.map(([, bytes]) => bytes));
  const inputs = taken.map(
    ({ hash }, i): InputHash => ({ name: (named[i] as [string, unknown])[0], sha256: hash }),
  );
  let at = 0;
  const next = (): Taken => taken[at++] as Taken;
  const nextBytes = (): Uint8Array => next().bytes;
  const own = { report: nextBytes(), certificates: certificates.map(nextBytes), crls: crls.map(nextBytes) };
  const roots = options.roots?.map((root) => ({ ...root, spki: nextBytes() }));
  const table = certificateTable && nextBytes();
  const idBlock = identity && nextBytes();
  const idAuth = identity?.idAuth && nextBytes();
  const checks = new Checklist<SnpCheckId>(snpChecks);
  const claims = await new SnpVerification(context, checks, roots, taken).run({
    ...own,
    ...(table && { certificateTable: table }),
    ...(idBlock && { identity: { idBlock, ...(idAuth && { idAuth }) } }),
  });
  return outcomeOf({
    kind: "snp",
    checks: checks.results(),
    inputs,
    at: context.at,
    tcb: undefined,
    window: undefined,
    claims,
  });
}

/** One verification: its context, its checklist, and what has been found so far. */
class SnpVerification {
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

  async run(evidence: SnpEvidence): Promise<SnpClaims | undefined> {
    const parsed = this.#read(evidence.report);
    if (parsed === undefined) return undefined;
    this.#form(parsed);
    const { certificates = [], certificateTable, identity } = evidence;
    const files = withTable(this.#checks, { certificates, crls: evidence.crls ?? [] }, certificateTable);
    const leaf = await this.#certificates(parsed, files.certificates);
    const line = this.#product(parsed, leaf?.extensions);
    const tcb = line && tcbOf(parsed, line);
    let root: string | undefined;
    if (leaf !== undefined) {
      if (line !== undefined) root = await this.#chain(leaf, line, files.crls);
      this.#keyFits(parsed, leaf, tcb?.reported);
      await this.#signature(parsed, leaf.known);
    }
    if (tcb !== undefined) this.#order(tcb);
    if (identity === undefined) this.#checks.drop("snp.id-block", "snp.id-key", "snp.author-key");
    else await judgeIdentity(this.#context, this.#checks, parsed, identity);
    return {
      report: parsed,
      line,
      tcb,
      signingKey: parsed.signingKey,
      root,
      cspId: leaf?.extensions?.cspId,
      provisionalFirmware: tcb !== undefined && above(tcb.current, tcb.committed).length > 0,
      chipIdMasked: parsed.fields.chipId.every((byte) => byte === 0),
    };
  }

  #read(bytes: Uint8Array): SnpReport | undefined {
    try {
      const parsed = parseSnpReport(bytes);
      this.#checks.pass(
        "snp.report.form",
        `version ${parsed.fields.version}, ${bytes.length} bytes`,
        report(0, 4),
      );
      return parsed;
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.#checks.fail("snp.report.form", error.message, report(error.offset, 4));
      return undefined;
    }
  }

  /** What the report looks like, before any key comes into it. */
  #form(parsed: SnpReport): void {
    const checks = this.#checks;
    const { findings, fields, bytes } = parsed;
    const inSignature = (path: string) => /signature|reserved(2d0|318|330)/.test(path);
    const broken = findings.filter(
      ({ kind, path }) => (kind === "reserved-not-zero" && !inSignature(path)) || kind === "bit-not-one",
    );
    for (const { path, detail, offset, length } of broken)
      checks.fail("snp.report.reserved", `${path}: ${detail}`, report(offset, length));
    if (broken.length === 0) checks.pass("snp.report.reserved", "all as they must be");

    const behind = findings.find(({ kind }) => kind === "trailing-bytes");
    if (behind === undefined) checks.pass("snp.report.length", `${SNP_REPORT_SIZE} bytes`);
    else checks.fail("snp.report.length", behind.detail, report(behind.offset, behind.length));

    const wrong: [string, Place][] = [];
    if (fields.signatureAlgorithm !== 1)
      wrong.push([`signature algorithm ${fields.signatureAlgorithm}, 1 is ECDSA P-384`, report(0x34, 4)]);
    for (const [name, at] of [
      ["R", 0],
      ["S", SCALAR],
    ] as const) {
      const scalar = parsed.signature.subarray(at, at + SCALAR);
      const place = report(SNP_SIGNED_SIZE + (at === 0 ? 0 : 72), SCALAR);
      if (scalar.every((byte) => byte === 0)) wrong.push([`${name} is zero`, place]);
      else if (!belowOrder(scalar)) wrong.push([`${name} is not below the order of the curve`, place]);
    }
    for (const { path, detail, offset, length } of findings)
      if (inSignature(path)) wrong.push([`${path}: ${detail}`, report(offset, length)]);
    for (const [detail, place] of wrong) checks.fail("snp.signature.form", detail, place);
    if (wrong.length === 0)
      checks.pass(
        "snp.signature.form",
        "ECDSA P-384 with SHA-384",
        report(SNP_SIGNED_SIZE, bytes.length < SNP_REPORT_SIZE ? 0 : SIGNATURE_SIZE),
      );
  }

  /** Finds the certificate of the signing key among those given. */
  async #certificates(parsed: SnpReport, given: readonly Uint8Array[]): Promise<Leaf | undefined> {
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

  /** The product by the report's CPUID and by the certificate: they must agree where both speak. */
  #product(parsed: SnpReport, extensions: KeyExtensions | undefined): SnpLine | undefined {
    const checks = this.#checks;
    const { fields, product } = parsed;
    const place = report(0x188, 3);
    const processor = `family 0x${fields.cpuidFamily.toString(16)}, model 0x${fields.cpuidModel.toString(16)}`;
    if (fields.version >= 3 && product === undefined) {
      checks.fail("snp.product", `${processor}: not a product that is known here`, place);
      return undefined;
    }
    const said = extensions?.line;
    if (said === undefined) {
      checks.skip("snp.product", "no certificate names the product");
      return product?.line;
    }
    if (!isLine(said)) {
      checks.fail("snp.product", `the certificate is of ${extensions?.productName}, which is not known here`);
      return undefined;
    }
    if (product === undefined) {
      // Version 2 has no CPUID; Turin never signed it.
      if (checks.decide("snp.product", said !== "Turin", `${said}, by the certificate alone`)) return said;
      return undefined;
    }
    const agree = product.line === said;
    checks.decide(
      "snp.product",
      agree,
      agree
        ? `${product.name} (${processor})`
        : `the report is of ${product.name} (${processor}), the key of ${said}`,
      place,
    );
    return agree ? said : undefined;
  }

  /** Chain, its rules, revocation. Gives the name of the root. */
  async #chain(leaf: Leaf, line: SnpLine, crls: readonly Uint8Array[]): Promise<string | undefined> {
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

  /** The certificate's extensions against the report. */
  #keyFits(parsed: SnpReport, { kind, extensions }: Leaf, reported: SnpTcb | undefined): void {
    const checks = this.#checks;
    const { fields, flags } = parsed;
    if (extensions === undefined) return;
    const missing: string[] = [];
    if (kind === "vcek" && extensions.hardwareId === undefined) missing.push("hwID");
    if (kind === "vlek" && extensions.cspId === undefined) missing.push("CSP id");
    for (const name of Object.keys(reported ?? {}) as TcbComponent[])
      if (extensions.tcb[name] === undefined) missing.push(`the ${name} level`);
    if (extensions.tcb.fmc !== undefined && reported !== undefined && reported.fmc === undefined)
      checks.fail("snp.key.extensions", "an FMC level, which only Turin has");
    if (missing.length > 0) checks.fail("snp.key.extensions", `missing: ${missing.join(", ")}`);
    else checks.pass("snp.key.extensions", `${extensions.productName}, ${tcbText(extensions.tcb)}`);

    if (reported !== undefined) {
      const different = (Object.keys(reported) as TcbComponent[]).filter(
        (name) => reported[name] !== extensions.tcb[name],
      );
      const detail =
        different.length === 0
          ? tcbText(reported)
          : different
              .map(
                (name) =>
                  `${name} is ${reported[name]} in the report, ${extensions.tcb[name] ?? "absent"} in the certificate`,
              )
              .join("; ");
      checks.decide("snp.key.tcb", different.length === 0, detail, report(0x180, 8));
    }

    const place = report(0x1a0, 64);
    const masked = fields.chipId.every((byte) => byte === 0);
    if (kind === "vlek") checks.drop("snp.key.chip");
    else if (masked)
      checks.fail(
        "snp.key.chip",
        flags.has("MASK_CHIP_KEY") ? "CHIP_ID is masked" : "CHIP_ID is zero though the host did not mask it",
        place,
      );
    else if (extensions.hardwareId !== undefined) {
      const size = extensions.hardwareId.length;
      const right = size === (parsed.product?.hwIdLength ?? 64);
      const same =
        right &&
        extensions.hardwareId.every((byte, i) => byte === fields.chipId[i]) &&
        fields.chipId.subarray(size).every((byte) => byte === 0);
      checks.decide(
        "snp.key.chip",
        same,
        same
          ? `${toHex(extensions.hardwareId.subarray(0, 8))}…`
          : right
            ? `CHIP_ID ${toHex(fields.chipId.subarray(0, 8))}… in the report, hwID ${toHex(extensions.hardwareId.subarray(0, 8))}… in the certificate`
            : `hwID of ${size} bytes, ${parsed.product?.hwIdLength ?? 64} are right for the product`,
        place,
      );
    }
  }

  async #signature(parsed: SnpReport, leaf: KnownCertificate): Promise<void> {
    const checks = this.#checks;
    if (checks.stateOf("snp.signature.form") !== "passed") {
      checks.fail(
        "snp.signature",
        "a signature of this form is none",
        report(SNP_SIGNED_SIZE, SIGNATURE_SIZE),
      );
      return;
    }
    const { cache, crypto } = this.#context;
    const key = await cache.key(leaf.certificate.spki, leaf.hash).catch(() => undefined);
    if (key?.curve !== "P-384") {
      checks.fail("snp.signature", `the key of ${nameOf(leaf)} is not one of P-384`);
      return;
    }
    const good = await crypto.verify(
      key,
      { name: "ecdsa", hash: "sha384" },
      parsed.signature,
      parsed.signedBytes,
    );
    checks.decide(
      "snp.signature",
      good,
      good ? `by ${nameOf(leaf)}` : `the key of ${nameOf(leaf)} did not sign these bytes`,
      report(0, SNP_SIGNED_SIZE),
      report(SNP_SIGNED_SIZE, SIGNATURE_SIZE),
    );
  }

  #order(tcb: NonNullable<SnpClaims["tcb"]>): void {
    const wrong: string[] = [];
    for (const name of above(tcb.reported, tcb.committed))
      wrong.push(`${name}: reported ${tcb.reported[name]} above committed ${tcb.committed[name]}`);
    for (const name of above(tcb.committed, tcb.current))
      wrong.push(`${name}: committed ${tcb.committed[name]} above current ${tcb.current[name]}`);
    this.#checks.decide(
      "snp.tcb.order",
      wrong.length === 0,
      wrong.length === 0
        ? `reported ${tcbText(tcb.reported)}; current ${tcbText(tcb.current)}`
        : wrong.join("; "),
      report(0x180, 8),
      report(0x1e0, 8),
      report(0x38, 8),
    );
  }
}

interface Leaf {
  readonly known: KnownCertificate;
  readonly others: readonly KnownCertificate[];
  readonly kind: LeafKind;
  readonly extensions: KeyExtensions | undefined;
}

/** Components in which `one` is above `other`. */
function above(one: SnpTcb, other: SnpTcb): TcbComponent[] {
  return (Object.keys(one) as TcbComponent[]).filter((name) => (one[name] ?? 0) > (other[name] ?? 0));
}

function tcbOf(parsed: SnpReport, line: SnpLine): NonNullable<SnpClaims["tcb"]> {
  const layout = line === "Turin" ? "turin" : "milan";
  const { currentTcb, reportedTcb, committedTcb, launchTcb } = parsed.fields;
  return {
    current: snpTcb(currentTcb, layout),
    reported: snpTcb(reportedTcb, layout),
    committed: snpTcb(committedTcb, layout),
    launch: snpTcb(launchTcb, layout),
  };
}
