import { anchorOf, judgeSubmission, type NamedBytes, openBundles, Submission } from "@entresol/attestation";

/** Evidence to be judged for a time; its files in base64, so that it can be handed to a page. */
export interface Case {
  readonly files: readonly { readonly name: string; readonly base64: string }[];
  readonly at: string;
  /** Root certificate to trust instead of the built-in ones, DER in base64. */
  readonly root?: string;
}

/** What is compared: the verdict, the TCB status, and each check with what it found. */
export interface Judged {
  readonly verdict: string;
  readonly tcb: string | undefined;
  readonly checks: readonly string[];
  readonly rules: readonly string[];
}

const bytesOf = (base64: string): Uint8Array =>
  Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

/** Judges each case under the default policy. The same program on Node and in a browser. */
export function verdictsOf(cases: readonly Case[]): Promise<Judged[]> {
  return Promise.all(
    cases.map(async ({ files, at, root }) => {
      const submission = new Submission();
      for (const { name, base64 } of files) {
        const file: NamedBytes = { name, bytes: bytesOf(base64) };
        submission.add(file);
      }
      await openBundles(submission);
      const roots = root === undefined ? undefined : [anchorOf(bytesOf(root))];
      const judgement = await judgeSubmission("case", submission, { at, ...(roots && { roots }) });
      const { outcome, decision } = judgement;
      return {
        verdict: decision.verdict,
        tcb: outcome?.tcb?.status,
        checks: outcome?.checks.map(({ id, result, detail }) => `${id} ${result}: ${detail}`) ?? [],
        rules: decision.reasons.map(({ rule, holds, detail }) => `${rule} ${holds}: ${detail}`),
      };
    }),
  );
}
