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
import { type Context, contextOf } from "../context.ts";
import { type InputHash, type Outcome, outcomeOf } from "../outcome.ts";
import type { TrustAnchor } from "../x509/anchor.ts";
import type { KnownCertificate, Taken } from "../x509/cache.ts";
import { nameOf } from "../x509/chain.ts";
import type { SnpLine } from "./amd-keys.ts";
import { withTable } from "./certificate-table.ts";
import { type SnpCheckId, snpChecks } from "./checks.ts";
import type { SnpClaims, SnpEvidence, SnpOptions } from "./evidence.ts";
import { judgeIdentity } from "./id-block.ts";
import type { KeyExtensions, TcbComponent } from "./key-extensions.ts";
import { type Leaf, report, SigningKeys } from "./signing-key.ts";

const lines: readonly string[] = ["Milan", "Genoa", "Turin"] satisfies readonly SnpLine[];
const isLine = (text: string | undefined): text is SnpLine => text !== undefined && lines.includes(text);

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
  readonly #keys: SigningKeys;

  constructor(
    context: Context,
    checks: Checklist<SnpCheckId>,
    roots: readonly TrustAnchor[] | undefined,
    taken: readonly Taken[],
  ) {
    this.#context = context;
    this.#checks = checks;
    this.#keys = new SigningKeys(context, checks, roots, taken);
  }

  async run(evidence: SnpEvidence): Promise<SnpClaims | undefined> {
    const parsed = this.#read(evidence.report);
    if (parsed === undefined) return undefined;
    this.#form(parsed);
    const { certificates = [], certificateTable, identity } = evidence;
    const files = withTable(this.#checks, { certificates, crls: evidence.crls ?? [] }, certificateTable);
    const leaf = await this.#keys.find(parsed, files.certificates);
    const line = this.#product(parsed, leaf?.extensions);
    const tcb = line && tcbOf(parsed, line);
    let root: string | undefined;
    if (leaf !== undefined) {
      if (line !== undefined) root = await this.#keys.chain(leaf, line, files.crls);
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
