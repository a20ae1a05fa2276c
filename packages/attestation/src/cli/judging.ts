import { toHex } from "@entresol/wire";
import { type Command, InvalidArgumentError, Option } from "commander";
import { timeOf } from "../context.ts";
import { defaultProvider } from "../crypto/default-provider.ts";
import type { CryptoProvider } from "../crypto/provider.ts";
import { type Policy, parsePolicyText } from "../policy/schema.ts";
import type { Report } from "../report/report.ts";
import { type Judgement, type JudgementOptions, judgeSubmission, unjudged } from "../submission/judgement.ts";
import type { KindOptions } from "../submission/kind.ts";
import { kindNamed, kinds } from "../submission/kinds.ts";
import type { Submission } from "../submission/submission.ts";
import { plainBytes } from "../submission/text-forms.ts";
import { anchorOf, type TrustAnchor } from "../x509/anchor.ts";
import { CertificateCache } from "../x509/cache.ts";
import { companionsOf, type EvidenceSource, readBounded, readSource } from "./evidence-files.ts";
import { CommandError } from "./exit-status.ts";
import { explain } from "./failure.ts";
import { completerOf, type FetchingFlags, withFetchingOptions } from "./fetching.ts";

/** Options of every command that judges. */
export interface JudgingFlags extends FetchingFlags {
  readonly kind?: string;
  readonly certs: readonly string[];
  readonly collateral: readonly string[];
  readonly trustRoot: readonly string[];
  readonly at?: string;
  readonly policy?: string;
  readonly reference?: readonly string[];
  readonly minimumEvaluation?: number;
  readonly nonce?: Uint8Array;
  /** Asks for a token. */
  readonly token?: string;
}

/** Bytes that are given in hexadecimal. */
export function nonceOf(text: string): Uint8Array {
  if (!/^([0-9a-fA-F]{2})+$/.test(text)) throw new CommandError(`--nonce ${text}: not hexadecimal`);
  return new Uint8Array(Buffer.from(text, "hex"));
}

const kindNames = kinds.map(({ name }) => name).join(", ");

/** An option that may be given several times. */
export function several(flags: string, description: string): Option {
  return new Option(flags, description)
    .argParser((value: string, others: readonly string[]) => [...others, value])
    .default([], "none");
}

export function wholeNumber(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value))
    throw new CommandError(`"${text}" is not a whole number`);
  return value;
}

/** Adds these options to a command. */
export function withJudgingOptions(command: Command): Command {
  const judging = command
    .optionsGroup("What is judged, and how:")
    .option(
      "--kind <kind>",
      `what the evidence is, where its bytes and names do not say: ${kindNames}`,
      (name: string): string => {
        if (kindNamed(name) === undefined) throw new InvalidArgumentError(`One of ${kindNames} is needed.`);
        return name;
      },
    )
    .addOption(
      several(
        "--certs <file>",
        "certificates, lists or a certificate table that go with it (PEM, DER; may be repeated)",
      ),
    )
    .addOption(
      several(
        "--collateral <path>",
        "folder of known names, or bundle, with what AMD or Intel publish (may be repeated)",
      ),
    )
    .addOption(
      several(
        "--trust-root <file>",
        "trust this root certificate instead of AMD's and Intel's (may be repeated)",
      ),
    )
    .option("--at <time>", "judge for this time, ISO 8601 (default: now)")
    .option(
      "--nonce <hex>",
      "what a vTPM's quote, or an SVSM's report, must answer to; goes into tokens",
      nonceOf,
    )
    .option("--policy <file>", "what to accept, JSON (default: current TCBs, no debugging, no migration)")
    .addOption(
      several(
        "--reference <file>",
        "what images are measured as, for a policy's measurementsFrom: CoRIM or IGVM file (may be repeated)",
      ),
    )
    .option(
      "--minimum-evaluation <number>",
      "lowest tcbEvaluationDataNumber of Intel's collateral",
      wholeNumber,
    );
  return once(withFetchingOptions(judging));
}

/** An option that was said twice would be the last one, in silence: a second --policy must not win over the first. */
function once(command: Command): Command {
  for (const option of command.options) {
    if (Array.isArray(option.defaultValue)) continue;
    let said = false;
    command.on(`option:${option.name()}`, () => {
      if (said) throw new CommandError(`${option.long ?? option.flags} is given twice`);
      said = true;
    });
  }
  return command;
}

async function anchorsOf(path: string): Promise<TrustAnchor[]> {
  try {
    const anchors = plainBytes(await readBounded(path)).blocks.map(({ data }) => anchorOf(data));
    if (anchors.length === 0) throw new CommandError("no certificate in it");
    return anchors;
  } catch (error) {
    throw new CommandError(`--trust-root ${path}: ${explain(error)}`);
  }
}

/** The name of a nonce that the asker gave. */
export const GIVEN_NONCE = "--nonce";

/** The policy that the flags name, with its images' values in it; and both as inputs, by their hashes. */
async function readPolicy(
  { policy: path, reference = [], at }: JudgingFlags,
  crypto: CryptoProvider,
): Promise<{ readonly policy: Policy | undefined; readonly inputs: Report["inputs"] }> {
  const hash = async (bytes: Uint8Array): Promise<string> => toHex(await crypto.digest("sha256", bytes));
  if (path === undefined) {
    if (reference.length > 0) throw new CommandError("--reference is for a --policy that names images");
    return { policy: undefined, inputs: [] };
  }
  const bytes = await readBounded(path);
  const policy = parsePolicyText(bytes);
  const own = { name: "policy", sha256: await hash(bytes) };
  if (reference.length === 0) return { policy, inputs: [own] };
  const { policyWithReferences, readReferences } = await import("./reference-files.ts");
  const files = await readReferences(reference);
  const time = at === undefined ? Date.now() : Date.parse(at);
  const values = await Promise.all(
    files.map(async (file) => ({ name: "reference values", sha256: await hash(file.bytes) })),
  );
  return { policy: await policyWithReferences(policy, files, time), inputs: [own, ...values] };
}

/** Judges pieces of evidence with what the command line gave for all of them. */
export class Judging {
  readonly policy: Policy | undefined;
  /** Inputs besides those that the verification notes. */
  readonly inputs: Report["inputs"];
  readonly #common: Submission;
  readonly #options: JudgementOptions;
  readonly #forToken: boolean;
  /** Fetches what is missing, when it may. */
  readonly #complete: ReturnType<typeof completerOf>;

  private constructor(
    common: Submission,
    options: JudgementOptions,
    inputs: Report["inputs"],
    complete: ReturnType<typeof completerOf>,
    forToken: boolean,
  ) {
    this.#forToken = forToken;
    this.#complete = complete;
    this.#common = common;
    this.#options = options;
    this.policy = options.policy;
    this.inputs = inputs;
  }

  /** Reads all that the flags name. Throws `CommandError`, `EvidenceError` and what reading files throws. */
  static async open(
    flags: JudgingFlags,
    behaviour: { readonly refreshBehind?: boolean } = {},
  ): Promise<Judging> {
    try {
      timeOf(flags.at);
    } catch (error) {
      throw new CommandError(`--at: ${explain(error)}`);
    }
    const roots = (await Promise.all(flags.trustRoot.map(anchorsOf))).flat();
    const crypto = defaultProvider();
    const { policy, inputs } = await readPolicy(flags, crypto);
    const common = await companionsOf(flags.certs, flags.collateral);
    if (flags.nonce !== undefined) common.set("nonce", GIVEN_NONCE, flags.nonce);
    return new Judging(
      common,
      {
        cache: new CertificateCache(crypto, 4096),
        ...(flags.kind !== undefined && { kind: flags.kind }),
        ...(roots.length > 0 && { roots }),
        ...(flags.at !== undefined && { at: flags.at }),
        ...(policy !== undefined && { policy }),
        ...(flags.minimumEvaluation !== undefined && {
          minimumEvaluationDataNumber: flags.minimumEvaluation,
        }),
      },
      inputs,
      completerOf(flags, behaviour),
      flags.token !== undefined,
    );
  }

  /** How everything is verified. */
  get options(): KindOptions {
    return this.#options;
  }
  /** The time judged for, milliseconds since 1970. */
  get at(): number {
    const { at } = this.#options;
    return at === undefined ? Date.now() : new Date(at).getTime();
  }

  /** A submission that has what the command line gave, for evidence that comes otherwise than in files. */
  submission(): Submission {
    return this.#common.copy();
  }

  /**
   * Judges a submission. `options` stand above the command line's. `forToken`: a nonce may be there for a token alone; else evidence that
   * answers to none is not accepted with one.
   */
  async judge(
    name: string,
    submission: Submission,
    options: JudgementOptions = {},
    { forToken = this.#forToken }: { readonly forToken?: boolean } = {},
  ): Promise<Judgement> {
    const all = { ...this.#options, ...options };
    if (all.roots === undefined)
      for (const { name: root } of submission.named("root"))
        submission.remarks.push({ name: root, text: "not trusted because it lies there: see --trust-root" });
    const [nonce] = submission.named("nonce");
    if (nonce !== undefined && nonce.name !== GIVEN_NONCE)
      submission.remarks.push({
        name: nonce.name,
        text: "the nonce comes from beside the evidence, and shows no freshness: see --nonce",
      });
    await this.#complete?.(submission, all.at === undefined ? Date.now() : new Date(all.at).getTime());
    const judgement = await judgeSubmission(name, submission, all);
    const answered = judgement.outcome?.checks.some(({ id }) => id.endsWith(".nonce")) ?? true;
    if (nonce?.name !== GIVEN_NONCE || answered || judgement.decision.verdict !== "accepted")
      return judgement;
    const compared =
      "the nonce was compared with nothing: demand the report data that it leads to by a policy";
    if (forToken) {
      submission.remarks.push({ name: GIVEN_NONCE, text: `${compared}; it is in the token only` });
      return judgement;
    }
    return { ...judgement, decision: { ...judgement.decision, verdict: "unverified" }, problem: compared };
  }

  /** The files of a piece of evidence, with what the command line gave. Throws what reading files throws. */
  read(source: EvidenceSource): Promise<Submission> {
    const { kind } = this.#options;
    return readSource(source, this.#common, kind === undefined ? undefined : kindNamed(kind)?.main);
  }

  /** Judges files. What cannot be read is unverified, with the reason. */
  async judgeSource(source: EvidenceSource): Promise<Judgement> {
    try {
      return await this.judge(source.name, await this.read(source));
    } catch (error) {
      return unjudged(source.name, explain(error));
    }
  }
}
