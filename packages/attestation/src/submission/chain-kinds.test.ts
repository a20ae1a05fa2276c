import { buildVtpmEvidence } from "@entresol/evidence";
import { describe, expect, test } from "vitest";
import { bootLog, goodNonce, pcrsAfter, utf8 } from "../testing/boot-evidence.ts";
import { paravisor, svsm } from "../testing/paravisor-evidence.ts";
import { platform, platformTime } from "../testing/quote-evidence.ts";
import { judgeSubmission } from "./judgement.ts";
import { kindOf } from "./kinds.ts";
import { Submission } from "./submission.ts";

/** Judges files by their names. Gives the kind, and the checks that failed. */
async function judged(
  files: Readonly<Record<string, Uint8Array | undefined>>,
  roots: ReturnType<typeof paravisor>["roots"],
) {
  const submission = new Submission();
  for (const [name, bytes] of Object.entries(files)) if (bytes !== undefined) submission.add({ name, bytes });
  const row = kindOf(submission);
  if (row === undefined) throw new Error("no kind fits");
  const outcome = await row.verify(submission, { at: platformTime, roots });
  return {
    kind: row.name,
    outcome,
    failed: outcome.checks.filter(({ result }) => result === "failed").map(({ id }) => id),
    shown: [...row.shown(submission, outcome).keys()],
    remarks: submission.remarks.map(({ name, text }) => `${name} ${text}`),
  };
}

const made = paravisor();
const { tpmQuote } = made;
const [vcek, ask] = made.certificates ?? [];
const loose = {
  "hcl-report.bin": made.report,
  "vcek.der": vcek,
  "ask.der": ask,
  "tpm-quote.msg": tpmQuote?.message,
  "tpm-quote.sig": tpmQuote?.signature,
  "event-log.bin": made.eventLog,
};
const json = buildVtpmEvidence({
  hclReport: made.report,
  quote: tpmQuote && {
    message: tpmQuote.message,
    signature: tpmQuote.signature,
    pcrs: pcrsAfter(bootLog(), "sha256"),
  },
  vcek,
  tdQuote: undefined,
});

describe("a paravisor's evidence", () => {
  test("is put together from loose files, and the log gives the PCR values", async () => {
    const { kind, failed, outcome, shown } = await judged(loose, made.roots);
    expect([kind, failed]).toEqual(["hcl", []]);
    expect(outcome.checks.find(({ id }) => id === "log.replay")?.result).toBe("passed");
    expect(shown).toEqual(["hcl-report", "tpm-quote", "tpm-signature", "event-log"]);
  });

  test("is refused with a quote whose signature was left out", async () => {
    const { "tpm-quote.sig": _, ...rest } = loose;
    expect((await judged(rest, made.roots)).failed).toEqual(["tpm.quote.signature"]);
  });

  test("is held to the nonce that lies beside it", async () => {
    const nonce = utf8("\u0001\u0002another");
    expect((await judged({ ...loose, nonce }, made.roots)).failed).toEqual(["tpm.quote.nonce"]);
  });

  test("may be JSON: what it holds is shown, and another report beside it is remarked on", async () => {
    const files = { "evidence.json": json, "ask.der": ask, "vcek.der": vcek };
    const { kind, failed, shown, remarks } = await judged(files, made.roots);
    expect([kind, failed, remarks]).toEqual(["hcl", [], []]);
    expect(shown).toEqual(["evidence.json", "hcl-report", "tpm-quote"]);
    const same = await judged({ ...files, "hcl-report.bin": made.report }, made.roots);
    expect(same.remarks).toEqual([]);
    const other = await judged({ ...files, "hcl-report.bin": made.report.with(100, 1) }, made.roots);
    expect(other.remarks).toEqual([
      "hcl-report.bin is not the report of the JSON evidence, which was judged",
    ]);
  });

  test("on TDX takes quote and collateral", async () => {
    const td = paravisor({ hardware: "tdx" });
    const { collateral } = td;
    const { kind, failed, outcome } = await judged(
      {
        "hcl-report.bin": td.report,
        "td-quote.bin": td.quote,
        "tcbinfo.json": collateral?.tcbInfo,
        "qeidentity.json": collateral?.qeIdentity,
        "tcb_signing_chain.pem": collateral?.signers?.[0],
        "root_ca_crl.der": collateral?.rootCrl,
        "pck_crl.der": collateral?.pckCrl,
      },
      td.roots,
    );
    expect([kind, failed, outcome.tcb?.status]).toEqual(["hcl", [], "UpToDate"]);
  });
});

test("an SVSM's attestation is report, manifest and nonce", async () => {
  const attested = svsm();
  const [leaf, ca] = attested.certificates ?? [];
  const { kind, failed, shown } = await judged(
    {
      "report.bin": attested.report,
      "manifest.bin": attested.manifest,
      "nonce.bin": attested.nonce,
      "vcek.der": leaf,
      "ask.der": ca,
    },
    attested.roots,
  );
  expect([kind, failed]).toEqual(["svsm", []]);
  expect(shown).toEqual(["report", "manifest", "nonce"]);
});

test("a TD quote with a CCEL beside it is held to it", async () => {
  const { quote, roots } = platform();
  const { kind, failed, shown } = await judged(
    { "quote.bin": quote, "ccel_data.dat": bootLog({ banks: ["sha384"], indexOf: (pcr) => pcr / 4 + 1 }) },
    roots,
  );
  expect([kind, failed]).toEqual(["tdx", ["log.replay"]]);
  expect(shown).toEqual(["quote", "event-log"]);
});

test("JSON beside a report or a TPM quote that differs from what it holds is not judged in their place", async () => {
  const verdictWith = async (files: Readonly<Record<string, Uint8Array | undefined>>) => {
    const submission = new Submission();
    for (const [name, bytes] of Object.entries({ "evidence.json": json, "ask.der": ask, ...files }))
      if (bytes !== undefined) submission.add({ name, bytes });
    const options = { at: platformTime, roots: made.roots };
    const { decision, problem } = await judgeSubmission("folder", submission, options);
    return [decision.verdict, problem];
  };
  expect(await verdictWith({})).toEqual(["accepted", undefined]);
  expect(await verdictWith({ "hcl-report.bin": made.report, "tpm-quote.msg": tpmQuote?.message })).toEqual([
    "accepted",
    undefined,
  ]);
  for (const [name, bytes] of [
    ["hcl-report.bin", made.report.with(100, 1)],
    ["tpm-quote.msg", tpmQuote?.message.with(20, (tpmQuote.message[20] as number) ^ 1)],
    ["tpm-quote.sig", tpmQuote?.signature.with(20, (tpmQuote.signature[20] as number) ^ 1)],
  ] as const)
    expect(await verdictWith({ [name]: bytes })).toEqual([
      "unverified",
      expect.stringContaining(`${name}: not what the other evidence here holds`),
    ]);
});

test("a nonce without a TPM quote that could hold it leaves a paravisor's report unverified", async () => {
  const verdictOf = async (nonce: Uint8Array | undefined) => {
    const submission = new Submission();
    const { "tpm-quote.msg": _, "tpm-quote.sig": __, "event-log.bin": ___, ...rest } = loose;
    for (const [name, bytes] of Object.entries({ ...rest, nonce }))
      if (bytes !== undefined) submission.add({ name, bytes });
    const { decision } = await judgeSubmission("x", submission, { at: platformTime, roots: made.roots });
    return [decision.verdict, decision.missing.map(({ id }) => id)];
  };
  expect(await verdictOf(undefined)).toEqual(["accepted", []]);
  expect(await verdictOf(goodNonce)).toEqual(["unverified", ["tpm.quote.nonce"]]);
});
