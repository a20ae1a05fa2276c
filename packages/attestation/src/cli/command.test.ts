import { generateKeyPairSync } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { encodePem } from "@entresol/evidence";
import { afterAll, describe, expect, test } from "vitest";
import { writeReferenceValues } from "../reference/reference-values.ts";
import { run, scratchFolder } from "../testing/command.ts";
import { platform, platformTime } from "../testing/quote-evidence.ts";
import { chip } from "../testing/snp-evidence.ts";

const scratch = scratchFolder();
afterAll(() => scratch[Symbol.dispose]());
const at = platformTime;

function folder(name: string, files: Readonly<Record<string, Uint8Array | string>>): string {
  const path = join(scratch.path, name);
  mkdirSync(path, { recursive: true });
  for (const [file, content] of Object.entries(files)) writeFileSync(join(path, file), content);
  return path;
}

const evidence = chip({ crl: {} });
const [leaf, ask, ark] = evidence.certificates;
const snpFiles = {
  "report.bin": evidence.report,
  "vcek.der": leaf,
  "ask.der": ask,
  "ark.der": ark,
  "crl.der": evidence.crls?.[0] as Uint8Array,
};
const snp = folder("snp", snpFiles);
const trusted = ["--trust-root", join(snp, "ark.der"), "--at", at];
const debug = folder("debug", {
  ...snpFiles,
  "report.bin": chip({ report: { policy: 0xb_0000n } }).report,
});
const changed = evidence.report.slice();
changed[0x90] = 0;
const forged = folder("forged", { ...snpFiles, "report.bin": changed });

const td = platform();
const { tcbInfo, qeIdentity, rootCrl, pckCrl } = td.collateral;
const collateral = folder("collateral", {
  "tcbinfo.json": tcbInfo,
  "qeidentity.json": qeIdentity,
  "root_ca_crl.der": rootCrl,
  "pck_crl.der": pckCrl,
  "tcb_signing_chain.pem": [td.signer, td.chain[2]].map((der) => encodePem("CERTIFICATE", der)).join(""),
  "root_ca.der": td.chain[2],
  "notes.txt": "not collateral",
});
const quote = join(folder("tdx", { "quote.bin": td.quote }), "quote.bin");
const tdTrusted = ["--collateral", collateral, "--trust-root", join(collateral, "root_ca.der"), "--at", at];

describe("exit status and verdict", () => {
  test("0, accepted", async () => {
    const { status, stdout } = await run(snp, ...trusted);
    expect(status).toBe(0);
    expect(stdout).toContain("ACCEPTED  AMD SEV-SNP attestation report");
    expect(stdout).toContain("Who signed it");
  });
  test("1, rejected: a signature that is none", async () => {
    const { status, stdout } = await run(forged, ...trusted);
    expect(status).toBe(1);
    expect(stdout).toContain("FAIL snp.signature: The report is signed by the key of the certificate");
    expect(stdout).toContain("Do not trust this report");
  });
  test("1, rejected: good evidence that the policy refuses", async () => {
    const { status, stdout } = await run(debug, ...trusted);
    expect(status).toBe(1);
    expect(stdout).toContain("FAIL /snp/guestPolicy/debug");
    expect(stdout).toContain("The evidence is genuine as far as it was checked");
  });
  test("2, unverified: nothing says who signed", async () => {
    const { status, stdout } = await run(join(snp, "report.bin"), "--at", at);
    expect(status).toBe(2);
    expect(stdout).toContain("UNVERIFIED");
    expect(stdout).toContain("Get the VCEK certificate");
  });
  test("1, a root that nobody trusts, although it lies beside the evidence", async () => {
    expect((await run(snp, "--at", at)).status).toBe(1);
  });
  test("2, what is no evidence, is not there, or is empty", async () => {
    const file = join(folder("other", { "x.bin": "hello" }), "x.bin");
    expect((await run(file)).stdout).toContain("no evidence of a kind that is known");
    expect((await run(file)).status).toBe(2);
    const missing = await run(join(scratch.path, "missing"));
    expect(missing).toMatchObject({ status: 2, stdout: "" });
    expect(missing.stderr).toContain("no such file or folder");
    expect((await run(folder("empty", {}))).status).toBe(2);
  });
  test.each([
    [["--policy", "strict.json", "--policy", "lax.json"], "--policy is given twice"],
    [["--at", at, "--at", at], "--at is given twice"],
    [["--at", "yesterday"], "not a time"],
    [["--at", "2026-06-01T00:00:00"], "with its zone"],
    [["--kind", "tpm1.2"], "hcl, svsm, snp, sgx, tdx"],
    [["--policy", join(snp, "vcek.der")], "policy"],
    [["--trust-root", join(snp, "report.bin")], "--trust-root"],
    [["--collateral", join(snp, "nowhere")], "no such file"],
    [["--nonce", "xyz"], "not hexadecimal"],
    [["--token", "ear-jwt"], "need a --key"],
    [["--key", "x"], "--key is for --token or --replay"],
    [["--frobnicate"], "unknown option"],
  ])("2, a wrong command line: %s", async (args, words) => {
    const { status, stdout, stderr } = await run(snp, ...args);
    expect(status).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toContain(words);
  });
  test("0 for --help and --version", async () => {
    const help = await run("--help");
    expect(help.status).toBe(0);
    for (const word of ["--trust-root", "--explain", "watch-folder", "serve", "collateral", "token"])
      expect(help.stdout).toContain(word);
    expect(await run("--version")).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    });
  });
});

describe("what is read", () => {
  test("evidence and certificates in any text form", async () => {
    const texts = folder("texts", {
      "report.hex": Buffer.from(evidence.report).toString("hex"),
      "vcek.pem": encodePem("CERTIFICATE", leaf),
      "ask.crt": Buffer.from(ask).toString("base64"),
    });
    const { status, stdout } = await run(texts, ...trusted);
    expect(status).toBe(0);
    expect(stdout).toContain("report.hex: read as hexadecimal");
  });
  test("a lone file with its certificates on the command line", async () => {
    const args = ["vcek.der", "ask.der", "crl.der"].flatMap((name) => ["--certs", join(snp, name)]);
    expect((await run(join(snp, "report.bin"), ...args, ...trusted)).status).toBe(0);
  });
  test("a TD quote with a folder of collateral; its root only when it is trusted", async () => {
    const { status, stdout } = await run(quote, ...tdTrusted);
    expect(status).toBe(0);
    expect(stdout).toContain("TCB status     UpToDate");
    expect((await run(quote, "--collateral", collateral, "--at", at)).status).toBe(1);
    expect((await run(quote, "--at", at)).status).not.toBe(0);
  });
  test("a bundle that `collateral` made in place of the folder, JSON or CBOR", async () => {
    for (const form of ["json", "cbor"]) {
      const bundle = join(scratch.path, `all.${form}`);
      const made = await run("collateral", "--collateral", collateral, "--out", bundle, "--no-cache");
      expect(made.status).toBe(0);
      expect(made.stdout).toContain("5 documents in");
      const root = ["--trust-root", join(collateral, "root_ca.der"), "--at", at];
      expect((await run(quote, "--collateral", bundle, ...root)).status).toBe(0);
    }
  });
  test("a kind that the bytes do not tell", async () => {
    const short = join(folder("short", { "x.dat": evidence.report.subarray(0, 1183) }), "x.dat");
    expect((await run(short, "--at", at)).status).toBe(2);
    const { status, stdout } = await run(short, "--kind", "snp", "--at", at);
    expect(status).toBe(1);
    expect(stdout).toContain("snp.report.form");
  });
  test("files with names that say nothing are left out, and it is said", async () => {
    const more = folder("more", { ...snpFiles, "core.dump": "x" });
    const { status, stdout } = await run(more, ...trusted);
    expect(status).toBe(0);
    expect(stdout).toContain("core.dump: not used: no name that is known");
  });
  test("a nonce beside the evidence, which shows nothing, and it is said", async () => {
    const path = folder("nonce", { ...snpFiles, "nonce.dat": "12345678" });
    expect((await run(path, ...trusted)).stdout).toContain(
      "nonce.dat: the nonce comes from beside the evidence",
    );
    expect((await run(path, ...trusted, "--nonce", "01")).stdout).not.toContain("beside the evidence");
  });
  test("a policy, whose hash is among the inputs", async () => {
    const policy = join(scratch.path, "policy.json");
    writeFileSync(policy, JSON.stringify({ name: "lab", snp: { guestPolicy: { debug: "any" } } }));
    const { status, stdout } = await run(debug, ...trusted, "--policy", policy, "--json");
    expect(status).toBe(0);
    expect(JSON.parse(stdout).inputs.at(-1).name).toBe("policy");
    expect((await run(debug, ...trusted, "--policy", policy)).stdout).toContain('by the policy "lab"');
  });
});

describe("--reference", () => {
  const digest = Uint8Array.from({ length: 48 }, () => 0xcd);
  const corim = join(scratch.path, "values.corim");
  writeFileSync(
    corim,
    writeReferenceValues({
      id: "a-vendor",
      values: [{ name: "golden", tee: "snp", measurements: { measurement: digest } }],
    }),
  );
  const policyOf = (name: string): string => {
    const path = join(scratch.path, `${name}-policy.json`);
    writeFileSync(path, JSON.stringify({ snp: { measurementsFrom: [name] } }));
    return path;
  };
  test("lets a policy name an image in place of its digest", async () => {
    const args = ["--reference", corim, "--policy", policyOf("golden"), "--json"];
    const { status, stdout } = await run(snp, ...trusted, ...args);
    expect(status).toBe(0);
    expect(JSON.parse(stdout).inputs.map(({ name }: { name: string }) => name)).toContain("reference values");
    const other = folder("other-image", {
      ...snpFiles,
      "report.bin": chip({ report: { measurement: new Uint8Array(48).fill(1) } }).report,
    });
    expect((await run(other, ...trusted, ...args)).status).toBe(1);
  });
  test("that names nothing that is known, or is no CoRIM, is a wrong command line", async () => {
    const unknown = await run(snp, ...trusted, "--reference", corim, "--policy", policyOf("silver"));
    expect([unknown.status, unknown.stdout]).toEqual([2, ""]);
    const file = await run(
      snp,
      ...trusted,
      "--reference",
      join(snp, "vcek.der"),
      "--policy",
      policyOf("golden"),
    );
    expect(file.stderr).toContain("neither a CoRIM nor an IGVM file");
    expect((await run(snp, ...trusted, "--reference", corim)).stderr).toContain("--policy");
  });
  test("without the file that a policy needs accepts nothing", async () => {
    expect((await run(snp, ...trusted, "--policy", policyOf("golden"))).status).not.toBe(0);
  });
});

describe("what is printed", () => {
  test("--json has the members that are promised", async () => {
    const { stdout } = await run(quote, ...tdTrusted, "--json");
    const report = JSON.parse(stdout);
    expect(report.verdict).toBe("accepted");
    expect(report.tcb).toEqual({
      status: "UpToDate",
      platform: "UpToDate",
      module: "UpToDate",
      qe: "UpToDate",
      advisories: [],
    });
    for (const check of report.checks) {
      expect(["passed", "failed", "not-run"]).toContain(check.result);
      for (const name of ["id", "spec", "detail"]) expect(typeof check[name]).toBe("string");
    }
    expect(report.claims.body.mrTd).toBe("44".repeat(48));
    for (const { name, sha256 } of report.inputs) {
      expect(typeof name).toBe("string");
      expect(sha256).toMatch(/^[0-9a-f]{64}$/);
    }
  });
  test("--json without anything to judge is JSON as well", async () => {
    const { status, stdout } = await run(join(folder("other", { "x.bin": "hello" }), "x.bin"), "--json");
    expect(status).toBe(2);
    expect(JSON.parse(stdout)).toMatchObject({
      verdict: "unverified",
      tcb: null,
      checks: [],
      claims: {},
      inputs: [],
    });
  });
  test("--explain lists every check and marks the bytes that decide", async () => {
    const { stdout } = await run(debug, ...trusted, "--explain");
    expect(stdout).toContain("ok   snp.report.form");
    expect(stdout).toContain("policy (008, 8 bytes): GUEST_POLICY");
    expect(stdout).toContain("[00 00 0b 00 00 00 00 00]");
  });
  test("nothing of the evidence moves the cursor", async () => {
    const vlek = chip({ kind: "vlek" });
    const name = `evil${String.fromCharCode(27)}[2J`;
    const path = folder(name, { "report.bin": vlek.report });
    const { stdout } = await run(path, "--at", at);
    expect(stdout).not.toContain(String.fromCharCode(27));
  });
  test("--token is a token that `token` verifies, by the right key alone", async () => {
    const key = join(scratch.path, "key.pem");
    const other = join(scratch.path, "other.pem");
    for (const path of [key, other])
      writeFileSync(
        path,
        generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({
          type: "pkcs8",
          format: "pem",
        }),
      );
    for (const form of ["ear-jwt", "ear-cwt"]) {
      const { status, stdout } = await run(
        snp,
        ...trusted,
        "--token",
        form,
        "--key",
        key,
        "--nonce",
        "0102030405060708",
      );
      expect(status).toBe(0);
      const token = join(scratch.path, `token.${form}`);
      writeFileSync(token, Buffer.from(stdout, "latin1"));
      const good = await run("token", token, "--key", key, "--nonce", "0102030405060708");
      expect(good.status).toBe(0);
      expect(good.stdout).toContain('"verdict": "accepted"');
      expect((await run("token", token, "--key", key, "--nonce", "0102030405060709")).status).toBe(2);
      expect((await run("token", token, "--key", other)).status).toBe(2);
    }
    const refused = await run(forged, ...trusted, "--token", "ear-jwt", "--key", key, "--json");
    expect(refused.status).toBe(1);
    const token = join(scratch.path, "refused.jwt");
    writeFileSync(token, JSON.parse(refused.stdout).token);
    expect((await run("token", token, "--key", key)).status).toBe(1);
  });
});

describe("--replay", () => {
  const key = join(scratch.path, "replay.pem");
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-384" });
  writeFileSync(key, privateKey.export({ type: "pkcs8", format: "pem" }));
  const token = join(scratch.path, "replay.jwt");
  test("has the same verdict again from the same inputs, at any time", async () => {
    const { stdout } = await run(quote, ...tdTrusted, "--token", "ear-jwt", "--key", key);
    writeFileSync(token, stdout);
    const others = tdTrusted.slice(0, -2);
    expect(await run(quote, ...others, "--replay", token, "--key", key)).toMatchObject({
      status: 0,
      stdout: "the same, to the byte\n",
    });
  });
  test("says what differs with other inputs", async () => {
    const others = ["--trust-root", join(collateral, "root_ca.der")];
    const { status, stdout } = await run(quote, ...others, "--replay", token, "--key", key, "--json");
    expect(status).toBe(1);
    expect(JSON.parse(stdout).same).toBe(false);
    expect(JSON.parse(stdout).differences.length).toBeGreaterThan(0);
  });
  test("takes no token that does not hold", async () => {
    const wrong = join(scratch.path, "wrong.jwt");
    writeFileSync(wrong, `${readFileSync(token, "utf8").trim().slice(0, -4)}AAAA`);
    expect((await run(quote, ...tdTrusted, "--replay", wrong, "--key", key)).status).toBe(2);
  });
});

describe("compare", () => {
  const other = platform({
    tcbInfo: (info) => {
      for (const level of info.tcbLevels) if (level.tcbStatus === "UpToDate") level.tcbStatus = "OutOfDate";
    },
  });
  const early = folder("early", {
    "tcbinfo.json": other.collateral.tcbInfo,
    "qeidentity.json": qeIdentity,
    "root_ca_crl.der": rootCrl,
    "pck_crl.der": pckCrl,
    "tcb_signing_chain.pem": [td.signer, td.chain[2]].map((der) => encodePem("CERTIFICATE", der)).join(""),
  });
  const root = ["--trust-root", join(collateral, "root_ca.der"), "--at", at];
  test("says what two sets make of a quote, and where they differ", async () => {
    const sets = ["--set", `early=${early}`, "--set", `standard=${collateral}`];
    const { status, stdout } = await run("compare", quote, ...sets, ...root);
    expect(status).toBe(1);
    expect(stdout).toContain("early        OutOfDate");
    expect(stdout).toContain("standard     UpToDate");
    expect(stdout).toContain("TCB status: early OutOfDate, standard UpToDate");
    const same = await run(
      "compare",
      quote,
      "--set",
      `a=${collateral}`,
      "--set",
      `b=${collateral}`,
      ...root,
      "--json",
    );
    expect([same.status, JSON.parse(same.stdout).agree]).toEqual([0, true]);
  });
  test("wants a quote and two sets", async () => {
    expect((await run("compare", quote, "--set", `a=${collateral}`, ...root)).stderr).toContain("two sets");
    expect((await run("compare", quote, "--set", collateral, ...root)).stderr).toContain("NAME=PATH");
    expect((await run("compare", snp, ...root)).stderr).toContain("no quote");
  });
});

describe("several pieces of evidence", () => {
  test("get a line each, and the worst status", async () => {
    const { status, stdout } = await run(snp, debug, forged, ...trusted);
    expect(status).toBe(1);
    const lines = stdout.trimEnd().split("\n");
    expect(lines).toHaveLength(4);
    expect(lines[0]).toMatch(/^accepted /);
    expect(lines[1]).toMatch(/^rejected .*DEBUG/);
    expect(lines[3]).toBe("3 judged: 1 accepted, 2 rejected, 0 unverified");
  });
  test("with --json are a line of JSON each", async () => {
    const { status, stdout } = await run(snp, join(snp, "report.bin"), ...trusted, "--json");
    expect(status).toBe(2);
    expect(
      stdout
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line).verdict),
    ).toEqual(["accepted", "unverified"]);
  });
  test("are looked for without going round in circles", async () => {
    const round = join(scratch.path, "round");
    folder("round/one", snpFiles);
    symlinkSync(round, join(round, "again"));
    const { status, stdout } = await run(round, ...trusted);
    expect(status).toBe(2);
    expect(stdout).toMatch(/unverified .*again: a link to a folder is not followed/);
    expect(stdout).toMatch(/accepted .*one/);
  });
  test("may be the folders in a folder", async () => {
    const all = join(scratch.path, "all");
    for (let i = 0; i < 3; i++) folder(`all/${i}`, snpFiles);
    expect((await run(all, ...trusted)).stdout).toContain("3 judged: 3 accepted");
  });
});

/** Recorded evidence, as its folders lie there. The library's own run over it is in vectors.test.ts. */
const vectors = [
  process.env["ENTRESOL_VECTORS"],
  resolve(import.meta.dirname, "../../../../../shared/vectors"),
]
  .filter((path) => path !== undefined)
  .map((path) => join(path, "attest"))
  .find((path) => existsSync(join(path, "manifest.json")));

interface Want {
  readonly accept: boolean | null;
  readonly tcb: string | null;
  readonly tcbOptional?: boolean;
  readonly verdict?: readonly string[];
}
interface Row {
  readonly id: string;
  readonly files: readonly string[];
  readonly evidence?: string;
  readonly collateral?: string | null;
  readonly time: string;
  readonly want: Want;
  readonly variants?: readonly {
    readonly name: string;
    readonly at?: string;
    readonly trustRoot?: boolean;
    readonly want: Want;
  }[];
}
const rows: readonly Row[] =
  vectors === undefined ? [] : JSON.parse(readFileSync(join(vectors, "manifest.json"), "utf8")).rows;
/** Its TPM quote is another machine's: refused by a right verifier, against the row. */
const wrong: ReadonlySet<string> = new Set(["azure/snp-trustee"]);
const runs = rows
  .filter(({ id, want }) => want.accept !== null && !wrong.has(id))
  .flatMap((row) => [
    { name: row.id, row, at: row.time, trustRoot: true, want: row.want },
    ...(row.variants ?? []).map(({ name, at: time = row.time, trustRoot = true, want }) => ({
      name: `${row.id}, ${name}`,
      row,
      at: time,
      trustRoot,
      want,
    })),
  ]);

describe.runIf(vectors !== undefined)("recorded evidence gets its verdict", () => {
  test.each(runs)("$name", async ({ row, at: time, trustRoot, want }) => {
    const base = vectors as string;
    const first = join(base, row.files[0] as string);
    const args = [
      row.evidence === undefined ? dirname(first) : join(base, row.evidence),
      "--json",
      "--at",
      time,
    ];
    if (row.evidence !== undefined) args.push("--certs", first);
    if (row.collateral)
      args.push("--collateral", join(base, "collateral", row.collateral.replace(/^collateral\//, "")));
    for (const root of ["root_ca.der", "ark.der"])
      if (trustRoot && existsSync(join(dirname(first), root)))
        args.push("--trust-root", join(dirname(first), root));
    const { status, stdout } = await run(...args);
    const { verdict, tcb } = JSON.parse(stdout);
    expect(want.verdict ?? [want.accept ? "accepted" : "rejected"]).toContain(verdict);
    expect(["accepted", "rejected", "unverified"][status]).toBe(verdict);
    if (want.tcb !== null && !(want.tcbOptional && tcb === null)) expect(tcb.status).toBe(want.tcb);
  });
});

describe("nothing that was handed over is passed over for accepted", () => {
  const forgedReport = join(forged, "report.bin");

  test("two reports that differ in a folder are unverified, and so is a report beside a quote", async () => {
    const two = folder("two-reports", { ...snpFiles, "snp-report.bin": changed });
    expect(await run(two, ...trusted)).toMatchObject({
      status: 2,
      stdout: expect.stringContaining("only one of these can be meant: report.bin, snp-report.bin"),
    });
    const mixed = folder("report-and-quote", { ...snpFiles, "quote.bin": td.quote });
    const { status, stdout } = await run(mixed, ...trusted);
    expect(status).toBe(2);
    expect(stdout).toContain("quote.bin: no part of this evidence");
    const named = await run(mixed, "--kind", "snp", ...trusted);
    expect(named.status).toBe(0);
    expect(named.stdout).toContain("quote.bin: not judged");
  });
  test("the same report under two names is one", async () => {
    const twice = folder("twice", { ...snpFiles, "snp-report.bin": evidence.report });
    expect((await run(twice, ...trusted)).status).toBe(0);
  });
  test("evidence given as --collateral is not judged in the place of the evidence", async () => {
    const { status, stderr } = await run(
      forgedReport,
      "--collateral",
      join(snp, "report.bin"),
      "--certs",
      join(snp, "vcek.der"),
      ...trusted,
    );
    expect(status).toBe(2);
    expect(stderr).toContain("neither a folder nor a file of collateral");
  });
  test("an empty folder beside good evidence is not passed over", async () => {
    const empty = folder("empty-beside", {});
    const { status, stderr } = await run(snp, empty, ...trusted);
    expect(status).toBe(2);
    expect(stderr).toContain("empty-beside: there is nothing in it");
  });
  test("a folder beside a report is told not to be judged", async () => {
    const outer = folder("outer", snpFiles);
    folder("outer/inner", { "report.bin": changed });
    expect((await run(outer, ...trusted)).stdout).toContain("inner: not looked into");
  });
});

test("a nonce that the evidence does not answer to is never passed over, but in a token", async () => {
  const { status, stdout } = await run(snp, ...trusted, "--nonce", "0102030405060708");
  expect(status).toBe(2);
  expect(stdout).toContain("the nonce was compared with nothing");
  expect((await run(forged, ...trusted, "--nonce", "0102030405060708")).status).toBe(1);
});

test("a folder that cannot be read is told, and the others are judged", async () => {
  const all = join(scratch.path, "one-unreadable");
  folder("one-unreadable/good", snpFiles);
  // Longer than paths can be: unreadable for every user.
  const name = "d".repeat(250);
  const before = process.cwd();
  try {
    process.chdir(all);
    for (let depth = 0; depth < 18; depth++) {
      mkdirSync(name);
      process.chdir(name);
    }
  } finally {
    process.chdir(before);
  }
  const { status, stdout } = await run(all, ...trusted);
  // Short enough to be removed again.
  for (const parent of [all, join(all, "d"), join(all, "d/d")])
    renameSync(join(parent, name), join(parent, "d"));
  expect(status).toBe(2);
  expect(stdout).toMatch(/accepted .*good/);
  expect(stdout).toContain("1 accepted, 0 rejected, 1 unverified");
});

describe("a time is one that there is", () => {
  test.each([
    "2026-02-30",
    "2026-02-29T00:00:00Z",
    "2026-06-31T00:00:00Z",
    "1",
    "2026-06-01T00:00:00",
    "2026-06-01T23:59:60Z",
  ])("not %s", async (time) => {
    const { status, stderr } = await run(snp, "--trust-root", join(snp, "ark.der"), "--at", time);
    expect(status).toBe(2);
    expect(stderr).toContain("is not a time");
  });
});

test.skipIf(!existsSync("/dev/zero"))(
  "a file without end is read no further than evidence goes",
  async () => {
    const { status, stdout } = await run("/dev/zero", "--at", at);
    expect(status).toBe(2);
    expect(stdout).toContain("goes on and on");
  },
);
