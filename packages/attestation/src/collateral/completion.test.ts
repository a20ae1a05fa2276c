import { buildVtpmEvidence, encodePem, snpTcb } from "@entresol/evidence";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { judgeSubmission } from "../submission/judgement.ts";
import { Submission } from "../submission/submission.ts";
import { CollateralServer } from "../testing/collateral-server.ts";
import { paravisor } from "../testing/paravisor-evidence.ts";
import { platform, platformTime } from "../testing/quote-evidence.ts";
import { chip, chipId, goodTcb } from "../testing/snp-evidence.ts";
import { anchorOf } from "../x509/anchor.ts";
import { CollateralClient } from "./client.ts";
import { Completion } from "./completion.ts";
import {
  amdCrlRequest,
  type CollateralRequest,
  pckCertificateRequest,
  pckCrlRequest,
  qeIdentityRequest,
  rootCrlRequest,
  tcbInfoRequest,
  vcekRequest,
} from "./services.ts";

const server = await CollateralServer.start();
afterAll(() => server.stop());
const at = Date.parse(platformTime);
const completion = (): Completion => {
  const { base } = server;
  return new Completion(
    new CollateralClient({
      services: { kds: base, pcs: base, roots: base },
      now: () => at,
      sleep: async () => {},
      attempts: 1,
    }),
  );
};
const answer = ({ path }: CollateralRequest, bytes: Uint8Array, headers?: Record<string, string>): void =>
  server.on(path, { does: "answer", bytes, ...(headers && { headers }) });
beforeEach(() => {
  server.asked.length = 0;
});

describe("what SNP evidence lacks", () => {
  const evidence = chip({ crl: {} });
  const [leaf, ask, ark] = evidence.certificates;
  const roots = [anchorOf(ark)];
  const list = evidence.crls?.[0] as Uint8Array;
  const vcek = vcekRequest("Genoa", chipId, goodTcb);
  const crl = amdCrlRequest("Genoa", "vcek");

  test("is asked for by chip and reported TCB, and makes a verdict", async () => {
    answer(vcek, leaf);
    answer(crl, list);
    const submission = new Submission();
    submission.add({ name: "report.bin", bytes: evidence.report });
    submission.add({ name: "ask.der", bytes: ask });
    const fetched = await completion().complete(submission, at);
    expect(fetched.map(({ name, problem }) => [name, problem])).toEqual([
      ["vcek.der", undefined],
      ["crl.der", undefined],
    ]);
    const { decision, outcome } = await judgeSubmission("x", submission, { at, roots });
    expect(decision.verdict).toBe("accepted");
    expect(outcome?.checks.every(({ result }) => result === "passed")).toBe(true);
  });

  test("is not asked for when it is there", async () => {
    const submission = new Submission();
    for (const [name, bytes] of Object.entries({
      "report.bin": evidence.report,
      "vcek.der": leaf,
      "crl.der": list,
    }))
      submission.add({ name, bytes });
    expect(await completion().complete(submission, at)).toEqual([]);
    expect(server.asked).toEqual([]);
  });

  test("is told with its reason when it cannot be had, and the verdict is unverified", async () => {
    server.on(vcek.path, { does: "refuse", status: 404 });
    server.on(crl.path, { does: "hang up" });
    const submission = new Submission();
    submission.add({ name: "report.bin", bytes: evidence.report });
    const fetched = await completion().complete(submission, at);
    expect(fetched[0]?.problem).toContain("answered 404");
    expect((await judgeSubmission("x", submission, { at, roots })).decision.verdict).toBe("unverified");
  });

  test("of version 2, which does not say what it is of, is looked for among Milan's and Genoa's", async () => {
    const old = chip({
      line: "Milan",
      report: { version: 2, cpuidFamily: 0, cpuidModel: 0, cpuidStepping: 0 },
    });
    const tcb = snpTcb(Uint8Array.of(4, 1, 0, 0, 0, 0, 22, 0xdb), "milan");
    server.on(vcekRequest("Milan", chipId, tcb).path, { does: "refuse", status: 404 });
    answer(vcekRequest("Genoa", chipId, tcb), old.certificates[0]);
    const submission = new Submission();
    submission.add({ name: "report.bin", bytes: old.report });
    const fetched = await completion().complete(submission, at);
    expect(fetched.slice(0, 2).map(({ problem }) => problem === undefined)).toEqual([false, true]);
  });

  test("is asked for likewise for a report inside of an agent's JSON", async () => {
    const inner = paravisor({ chip: { line: "Genoa" } });
    answer(vcek, inner.certificates?.[0] ?? leaf);
    answer(crl, list);
    const submission = new Submission();
    submission.add({
      name: "evidence.json",
      bytes: buildVtpmEvidence({
        hclReport: inner.report,
        quote: undefined,
        vcek: undefined,
        tdQuote: undefined,
      }),
    });
    await completion().complete(submission, at);
    expect(server.asked).toEqual([vcek.path, crl.path]);
    server.asked.length = 0;
    const whole = new Submission();
    whole.add({
      name: "evidence.json",
      bytes: buildVtpmEvidence({ hclReport: inner.report, quote: undefined, vcek: leaf, tdQuote: undefined }),
    });
    await completion().complete(whole, at);
    expect(server.asked).toEqual([crl.path]);
  });

  test("is not asked for by a masked chip, or with broken evidence", async () => {
    const submission = new Submission();
    submission.add({ name: "report.bin", bytes: chip({ report: { chipId: new Uint8Array(64) } }).report });
    await completion().complete(submission, at);
    expect(server.asked.some((path) => path.includes("blSPL"))).toBe(false);
    const broken = new Submission();
    broken.add({ name: "report.bin", bytes: new Uint8Array(7) });
    broken.add({ name: "quote.bin", bytes: new Uint8Array(7) });
    expect(await completion().complete(broken, at)).toEqual([]);
  });
});

describe("what a quote lacks", () => {
  const good = platform();
  const fmspc = Uint8Array.of(0x00, 0xa0, 0xb0, 0xc0, 0xd0, 0xe0);
  const { tcbInfo, qeIdentity, rootCrl, pckCrl } = good.collateral;
  const chainHeader = encodeURIComponent(
    [good.signer, good.chain[2]].map((der) => encodePem("CERTIFICATE", der)).join(""),
  );

  test("is asked for by the platform's FMSPC and CA, signers come in headers, and all makes a verdict", async () => {
    answer(tcbInfoRequest("tdx", fmspc), tcbInfo, { "TCB-Info-Issuer-Chain": chainHeader });
    answer(qeIdentityRequest("tdx"), qeIdentity, { "SGX-Enclave-Identity-Issuer-Chain": chainHeader });
    answer(pckCrlRequest("platform"), pckCrl);
    answer(rootCrlRequest(), rootCrl);
    const submission = new Submission();
    submission.add({ name: "quote.bin", bytes: good.quote });
    const fetched = await completion().complete(submission, at);
    expect(fetched.map(({ problem }) => problem)).toEqual([undefined, undefined, undefined, undefined]);
    const { decision, outcome } = await judgeSubmission("x", submission, { at, roots: good.roots });
    expect(decision.verdict).toBe("accepted");
    expect(outcome?.tcb?.status).toBe("UpToDate");
  });

  test("may come from a caching service alone, the root's list in hexadecimal", async () => {
    answer(tcbInfoRequest("tdx", fmspc), tcbInfo, { "SGX-TCB-Info-Issuer-Chain": chainHeader });
    answer(rootCrlRequest("pcs"), new TextEncoder().encode(Buffer.from(rootCrl).toString("hex")));
    const submission = new Submission();
    submission.add({ name: "quote.bin", bytes: good.quote });
    const { base } = server;
    const client = new CollateralClient({
      services: { kds: "http://127.0.0.1:9", pcs: base, roots: "http://127.0.0.1:9" },
      now: () => at,
    });
    const fetched = await new Completion(client, { rootCrlFrom: "pcs" }).complete(submission, at);
    expect(fetched.every(({ problem }) => problem === undefined)).toBe(true);
    expect((await judgeSubmission("x", submission, { at, roots: good.roots })).decision.verdict).toBe(
      "accepted",
    );
  });

  test("of another platform, as a service may give it, is refused by the verifier", async () => {
    const other = platform({ tcbInfo: (info) => void Object.assign(info, { fmspc: "FFFFFFFFFFFF" }) });
    answer(tcbInfoRequest("tdx", fmspc), other.collateral.tcbInfo, { "TCB-Info-Issuer-Chain": chainHeader });
    const submission = new Submission();
    submission.add({ name: "quote.bin", bytes: good.quote });
    await completion().complete(submission, at);
    const { decision } = await judgeSubmission("x", submission, { at, roots: good.roots });
    expect(decision.verdict).toBe("rejected");
    expect(decision.failed.map(({ id }) => id)).toContain("tcb-info.platform");
  });

  test("is its PCK certificate, when it names the platform by an encrypted PPID", () => {
    const { path } = pckCertificateRequest({
      encryptedPpid: new Uint8Array(384).fill(0xab),
      cpuSvn: new Uint8Array(16).fill(3),
      pceSvn: 11,
      pceId: 0,
    });
    expect(path).toContain("&pcesvn=0b00&pceid=0000");
    expect(path).toContain(`encrypted_ppid=${"ab".repeat(384)}&cpusvn=${"03".repeat(16)}`);
  });
});
