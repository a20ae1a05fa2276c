import { describe, expect, test } from "vitest";
import { logChecks } from "../event-log/checks.ts";
import { hclChecks } from "../hcl/checks.ts";
import { snpChecks } from "../snp/checks.ts";
import { judgeSubmission } from "../submission/judgement.ts";
import { Submission } from "../submission/submission.ts";
import { svsmChecks } from "../svsm/checks.ts";
import { quoteChecks } from "../tdx/checks.ts";
import { platform, platformTime } from "../testing/quote-evidence.ts";
import { chip } from "../testing/snp-evidence.ts";
import { tpmChecks } from "../tpm/checks.ts";
import { anchorOf } from "../x509/anchor.ts";
import { adviceFor } from "./advice.ts";
import { plainJson } from "./claims.ts";
import { decisivePlaces, factsOf, signersOf, todoOf } from "./facts.ts";
import { hexView } from "./hex-view.ts";
import { pageOf } from "./page.ts";
import { reportOf } from "./report.ts";

const evidence = chip();
async function judged(report: Uint8Array = evidence.report) {
  const submission = new Submission();
  submission.add({ name: "report.bin", bytes: report });
  for (const bytes of evidence.certificates) submission.add({ name: "vcek.der", bytes });
  return judgeSubmission("lab/report.bin", submission, {
    at: platformTime,
    roots: [anchorOf(evidence.certificates[2])],
  });
}
const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
const shown = new Map([["report", { bytes, map: undefined }]]);
const view = (...places: readonly (readonly [offset: number, length: number])[]): string[] =>
  hexView(
    shown,
    places.map(([offset, length]) => ({ input: "report", offset, length })),
  );

describe("advice", () => {
  const ids = [snpChecks, quoteChecks, hclChecks, svsmChecks, tpmChecks, logChecks].flatMap((table) =>
    Object.keys(table),
  );
  test.each(ids)("is there for %s", (id) => {
    expect(adviceFor({ id })).toBeDefined();
  });
  test("on inner evidence is that of the evidence by itself", () => {
    expect(adviceFor({ id: "hcl.snp.signature" })).toBe(adviceFor({ id: "snp.signature" }));
    expect(adviceFor({ id: "hcl.pck.revocation" })).toBe(adviceFor({ id: "pck.revocation" }));
    expect(adviceFor({ id: "hcl.claims.hash" })).toContain("do not belong together");
    expect(adviceFor({ id: "something.new" })).toBeUndefined();
  });
});

describe("the hex view", () => {
  test("marks the bytes and shows the row around them", () => {
    expect(view([0x12, 2])).toEqual([
      "report, 2 bytes at 0x012",
      "  000010  10 11[12 13]14 15 16 17 18 19 1a 1b 1c 1d 1e 1f  ................",
    ]);
  });
  test("marks to the end of a row, and over two", () => {
    expect(view([0x1e, 4]).slice(1)).toEqual([
      "  000010  10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d[1e 1f] ................",
      "  000020 [20 21]22 23 24 25 26 27 28 29 2a 2b 2c 2d 2e 2f   !\"#$%&'()*+,-./",
    ]);
  });
  test("joins what touches, leaves out what is not there, and shortens what is long", () => {
    expect(view([0, 2], [2, 2]).filter((line) => line.startsWith("report"))).toEqual([
      "report, 4 bytes at 0x000",
    ]);
    expect(view([300, 5], [250, 0])).toEqual([]);
    expect(hexView(shown, [{ input: "other", offset: 0, length: 4 }])).toEqual([]);
    const long = view([0, 256]);
    expect(long).toHaveLength(1 + 9);
    expect(long[5]).toContain("... 8 rows");
    expect(long.at(-1)).toContain("0000f0");
  });
  test("stops at the end of the bytes", () => {
    expect(view([0xff, 100]).at(-1)).toMatch(/fe\[ff\]/);
  });
});

describe("a page", () => {
  test("says what it is, who signed it, what is current, and what was checked", async () => {
    const page = pageOf(await judged());
    const text = page.join("\n");
    expect(page[0]).toBe("ACCEPTED  AMD SEV-SNP attestation report");
    for (const section of [
      "What it says",
      "Who signed it",
      "What is current",
      "What was checked: 13 passed, 0 failed, 1 not run",
    ])
      expect(page).toContain(section);
    expect(text).toContain("SEV-VCEK <- SEV-Genoa <- ARK-Genoa");
    expect(text).toContain("bootloader 4, tee 1, snp 22, microcode 219 (what the signature stands for)");
    expect(text).not.toContain("What to do");
  });
  test("says what failed and what to do", async () => {
    const report = evidence.report.slice();
    report[0x90] = 0;
    const judgement = await judged(report);
    expect(pageOf(judgement).join("\n")).toContain("FAIL snp.signature");
    expect(todoOf(judgement)).toEqual([adviceFor({ id: "snp.signature" })]);
    expect(signersOf(judgement).map(({ id }) => id)).toEqual(["snp.chain", "snp.signature"]);
    expect(decisivePlaces(judgement)).toEqual([
      { input: "report", offset: 0, length: 0x2a0 },
      { input: "report", offset: 0x2a0, length: 512 },
    ]);
  });
  test("of evidence that cannot be read has a verdict and no facts", async () => {
    const judgement = await judged(evidence.report.subarray(0, 1000));
    expect(factsOf(judgement)).toEqual({ is: [], current: [] });
    expect(pageOf(judgement)[0]).toContain("REJECTED");
  });
});

describe("a report", () => {
  test("is JSON that comes back as it was", async () => {
    const report = reportOf(await judged(), [{ name: "policy", sha256: "00".repeat(32) }]);
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
    expect(report).toMatchObject({ verdict: "accepted", kind: "snp", evidence: "lab/report.bin", tcb: null });
    expect(report.inputs.at(-1)?.name).toBe("policy");
    expect(report.claims).toMatchObject({ vmpl: 0, line: "Genoa", policyBits: ["SMT", "RESERVED_ONE"] });
  });
  test("of a quote has the TCB in its parts and the window of the collateral", async () => {
    const { quote, collateral, roots } = platform();
    const submission = new Submission();
    submission.add({ name: "quote.bin", bytes: quote });
    const none = reportOf(await judgeSubmission("q", submission, { at: platformTime, roots }));
    expect(none).toMatchObject({ verdict: "unverified", tcb: null });
    submission.set("tcb-info", "tcbinfo.json", collateral.tcbInfo);
    submission.set("qe-identity", "qeidentity.json", collateral.qeIdentity);
    submission.set("root-crl", "root", collateral.rootCrl);
    submission.set("pck-crl", "pck", collateral.pckCrl);
    for (const bytes of collateral.signers) submission.set("tcb-signers", "signers", bytes);
    const whole = reportOf(await judgeSubmission("q", submission, { at: platformTime, roots }));
    expect(whole).toMatchObject({
      verdict: "accepted",
      kind: "tdx",
      tcb: { status: "UpToDate", module: "UpToDate" },
    });
    expect(Date.parse(whole.window?.from ?? "")).toBeLessThan(Date.parse(whole.window?.to ?? ""));
  });
  test("says by how much a platform is short, and of what", async () => {
    const behind = platform({
      qe: { isvSvn: 3 },
      td: { teeTcbSvn: Uint8Array.of(5, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) },
      sgx: (sgx) => {
        sgx.components[0] = 2;
        sgx.cpuSvn[0] = 2;
        sgx.pceSvn = 10;
      },
    });
    const submission = new Submission();
    submission.add({ name: "quote.bin", bytes: behind.quote });
    submission.set("tcb-info", "tcbinfo.json", behind.collateral.tcbInfo);
    submission.set("qe-identity", "qeidentity.json", behind.collateral.qeIdentity);
    const judgement = await judgeSubmission("q", submission, { at: platformTime, roots: behind.roots });
    const { shortfall } = reportOf(judgement);
    for (const words of [
      "platform: SGX TCB component 1 is 2, 3 is needed",
      "platform: PCESVN is 10, 11 is needed",
      "quoting enclave: SVN is 3, 4 is needed",
    ])
      expect(shortfall.some((line) => line.startsWith(words))).toBe(true);
    for (const line of shortfall) expect(pageOf(judgement).join("\n")).toContain(line);
  });
  test("has bytes as hexadecimal, big numbers as such, and nothing that never ends", () => {
    const circle: Record<string, unknown> = { a: 1 };
    circle["self"] = circle;
    expect(
      plainJson({
        a: Uint8Array.of(1, 255),
        b: 10n,
        c: new Set(["x"]),
        d: new Map([["k", 1]]),
        e: undefined,
      }),
    ).toEqual({
      a: "01ff",
      b: "0xa",
      c: ["x"],
      d: { k: 1 },
    });
    expect(() => JSON.stringify(plainJson(circle))).not.toThrow();
  });
});
