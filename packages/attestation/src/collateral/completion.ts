import {
  parseHclReport,
  parsePem,
  parseQuote,
  parseSnpReport,
  parseVtpmEvidence,
  type SnpReport,
  snpTcb,
  type VtpmEvidence,
} from "@entresol/evidence";
import { MalformedError } from "@entresol/wire";
import { EvidenceError } from "../errors.ts";
import type { SnpLine } from "../snp/amd-keys.ts";
import type { Submission } from "../submission/submission.ts";
import { plainBytes } from "../submission/text-forms.ts";
import { pckExtensions } from "../tdx/pck.ts";
import { type Certificate, commonName, parseCertificate } from "../x509/certificate.ts";
import type { CollateralClient } from "./client.ts";
import {
  amdCrlRequest,
  type CollateralRequest,
  pckCertificateRequest,
  pckCrlRequest,
  qeIdentityRequest,
  rootCrlRequest,
  tcbInfoRequest,
  type UpdateSet,
  vcekRequest,
} from "./services.ts";

/* What a submission lacks, and where to get it. */

/** What came of asking for one document. */
export interface Fetched {
  readonly name: string;
  readonly url: string | undefined;
  /** Why it is not there. */
  readonly problem: string | undefined;
}

const PLATFORM_CA = "Intel SGX PCK Platform CA";
const PCK = "Intel SGX PCK Certificate";
/** Encrypted by RSA-3072, which is what Intel's service takes. */
const ENCRYPTED_PPID = 3;

/** What `read` makes of the evidence; undefined where it is broken, which the verifier tells better. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof MalformedError) return undefined;
    throw error;
  }
}

function certificatesOf(ders: readonly Uint8Array[]): Certificate[] {
  return ders.flatMap((der) => attempt(() => parseCertificate(der)) ?? []);
}

/** What an agent sends as JSON: a paravisor's report, with a TD quote where there is one. */
function agentsEvidence(submission: Submission): VtpmEvidence | undefined {
  const json = submission.get("vtpm-evidence");
  return json === undefined ? undefined : attempt(() => parseVtpmEvidence(json));
}

/** The report itself, or the one inside of a paravisor's. */
function snpReportOf(submission: Submission): SnpReport | undefined {
  const bytes = submission.get("snp-report");
  if (bytes !== undefined) return attempt(() => parseSnpReport(bytes));
  const outer = submission.get("hcl-report") ?? agentsEvidence(submission)?.hclReport;
  if (outer === undefined) return undefined;
  const { hardware } = attempt(() => parseHclReport(outer)) ?? {};
  return hardware !== undefined && "report" in hardware && hardware.kind === "snp"
    ? hardware.report
    : undefined;
}

export interface CompletionOptions {
  readonly update?: UpdateSet;
  /** pcs: a caching service (PCCS) stands in for Intel's, and has the root's list as well. */
  readonly rootCrlFrom?: "roots" | "pcs";
}

/** Fills in what a submission lacks, as far as the services have it. Throws nothing because of evidence or services. */
export class Completion {
  readonly #client: CollateralClient;
  readonly #update: UpdateSet;
  readonly #rootCrlFrom: "roots" | "pcs";

  constructor(
    client: CollateralClient,
    { update = "standard", rootCrlFrom = "roots" }: CompletionOptions = {},
  ) {
    this.#client = client;
    this.#update = update;
    this.#rootCrlFrom = rootCrlFrom;
  }

  async complete(submission: Submission, at: number): Promise<Fetched[]> {
    const fetched: Fetched[] = [];
    const report = snpReportOf(submission);
    if (report !== undefined) await this.#forReport(submission, report, at, fetched);
    const quote = submission.get("quote") ?? agentsEvidence(submission)?.tdQuote;
    if (quote !== undefined) await this.#forQuote(submission, quote, at, fetched);
    return fetched;
  }

  /** Asks for one document; gives whether it came. */
  async #add(
    submission: Submission,
    request: CollateralRequest,
    at: number,
    fetched: Fetched[],
  ): Promise<boolean> {
    try {
      const { bytes, chain, url } = await this.#client.collect(request, at);
      submission.set(request.role, request.name, bytes);
      if (chain.length > 0) {
        if (request.role === "tcb-info" || request.role === "qe-identity")
          submission.set("tcb-signers", "tcb_signing_chain.pem", chain);
        if (request.role === "certificate")
          for (const { data } of parsePem(chain)) submission.set("certificate", "pck-chain.pem", data);
      }
      fetched.push({ name: request.name, url, problem: undefined });
      return true;
    } catch (error) {
      if (!(error instanceof EvidenceError)) throw error;
      fetched.push({ name: request.name, url: undefined, problem: error.message });
      return false;
    }
  }

  async #forReport(submission: Submission, report: SnpReport, at: number, fetched: Fetched[]): Promise<void> {
    const { fields, signingKey, product } = report;
    if (signingKey !== "vcek" && signingKey !== "vlek") return;
    const known = certificatesOf([...submission.all("certificate"), ...vcekOf(agentsEvidence(submission))]);
    const leaf = known.find(({ subject }) => commonName(subject) === `SEV-${signingKey.toUpperCase()}`);
    // Version 2 does not say what it is of; Milan and Genoa made it.
    const lines: readonly SnpLine[] =
      leaf !== undefined ? linesOf(leaf) : product === undefined ? ["Milan", "Genoa"] : [product.line];
    let line = lines.length === 1 ? lines[0] : undefined;
    const masked = fields.chipId.every((byte) => byte === 0);
    if (leaf === undefined && signingKey === "vcek" && !masked) {
      for (const one of lines) {
        const tcb = snpTcb(fields.reportedTcb, one === "Turin" ? "turin" : "milan");
        if (await this.#add(submission, vcekRequest(one, fields.chipId, tcb), at, fetched)) {
          line = one;
          break;
        }
      }
    }
    if (line !== undefined && !submission.has("crl"))
      await this.#add(submission, amdCrlRequest(line, signingKey), at, fetched);
  }

  async #forQuote(submission: Submission, bytes: Uint8Array, at: number, fetched: Fetched[]): Promise<void> {
    const quote = attempt(() => parseQuote(bytes));
    if (quote === undefined) return;
    const { certification } = quote.qe;
    const { tee } = quote.body;
    if (
      certification.kind === "ppid" &&
      certification.type === ENCRYPTED_PPID &&
      !submission.has("certificate")
    ) {
      const { ppid, cpuSvn, pceSvn, pceId } = certification.fields;
      await this.#add(
        submission,
        pckCertificateRequest({ encryptedPpid: ppid, cpuSvn, pceSvn, pceId }),
        at,
        fetched,
      );
    }
    const chain =
      certification.kind === "pck-chain" || certification.kind === "pck-certificate"
        ? (attempt(() => parsePem(certification.data).map(({ data }) => data)) ?? [])
        : [];
    const pck = certificatesOf([...chain, ...submission.all("certificate")]).find(
      ({ subject }) => commonName(subject) === PCK,
    );
    if (pck === undefined) return;
    const extensions = attempt(() => pckExtensions(pck));
    if (extensions === undefined) return;
    const ca = commonName(pck.issuer) === PLATFORM_CA ? "platform" : "processor";
    const requests = [
      tcbInfoRequest(tee, extensions.fmspc, this.#update),
      qeIdentityRequest(tee, this.#update),
      pckCrlRequest(ca),
      rootCrlRequest(this.#rootCrlFrom),
    ];
    for (const request of requests)
      if (!submission.has(request.role)) await this.#add(submission, request, at, fetched);
  }
}

/** The VCEK of an agent's evidence: DER, or PEM. */
function vcekOf(evidence: VtpmEvidence | undefined): readonly Uint8Array[] {
  const vcek = evidence?.vcek;
  return vcek === undefined ? [] : (attempt(() => plainBytes(vcek).blocks.map(({ data }) => data)) ?? []);
}

/** The product line by the issuer's name. */
function linesOf({ issuer }: Certificate): readonly SnpLine[] {
  const name = commonName(issuer) ?? "";
  return (["Milan", "Genoa", "Turin"] as const).filter((line) => name.endsWith(line));
}
