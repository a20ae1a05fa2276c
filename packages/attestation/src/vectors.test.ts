import { webcrypto } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { eventTypeName, parseEventLog } from "@entresol/evidence";
import { toHex } from "@entresol/wire";
import { describe, expect, test } from "vitest";
import { judge } from "./appraise.ts";
import { verifyTdxLog } from "./ccel/verify.ts";
import { nativeProvider } from "./crypto/native.ts";
import type { CryptoProvider } from "./crypto/provider.ts";
import { type Subtle, webProvider } from "./crypto/web.ts";
import { hclEvidenceOf } from "./hcl/evidence-json.ts";
import { verifyHcl } from "./hcl/verify.ts";
import type { Outcome } from "./outcome.ts";
import { defaultPolicy } from "./policy/schema.ts";
import { verifySnp } from "./snp/verify.ts";
import type { QuoteCollateral } from "./tdx/evidence.ts";
import { verifySgx, verifyTdx } from "./tdx/verify.ts";
import { earOf } from "./token/ear.ts";
import { decodeEar, encodeEar } from "./token/ear-cbor.ts";
import { anchorOf, type TrustAnchor } from "./x509/anchor.ts";

/*
 * Evidence of real machines, and of a test PKI, each with the verdict that a right verifier gives under the default policy at the time that
 * is stated with it. Without the files (ENTRESOL_VECTORS) these are left out; the rules have tests of their own.
 */

interface Want {
  readonly accept: boolean | null;
  readonly tcb: string | null;
  readonly tcbOptional?: boolean;
  readonly why: string;
  readonly verdict?: readonly string[];
}
interface Row {
  readonly id: string;
  readonly kind: string;
  readonly files: readonly string[];
  readonly collateral?: string;
  /** A report that the certificate of this row claims to be of. */
  readonly evidence?: string;
  readonly time: string;
  readonly want: Want;
  readonly variants?: readonly {
    readonly name: string;
    readonly at?: string;
    readonly trustRoot?: boolean;
    readonly want: Want;
  }[];
}
interface Run {
  readonly name: string;
  readonly row: Row;
  readonly at: string;
  readonly trustRoot: boolean;
  readonly want: Want;
}

const folder = [process.env["ENTRESOL_VECTORS"], resolve(import.meta.dirname, "../../../../shared/vectors")]
  .filter((path) => path !== undefined)
  .map((path) => join(path, "attest"))
  .find((path) => existsSync(join(path, "manifest.json")));
if (folder === undefined)
  console.log("no recorded evidence (ENTRESOL_VECTORS): evidence of real machines is not judged");

const rows: readonly Row[] =
  folder === undefined ? [] : JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8")).rows;

/** Rows of these kinds that have a verdict, with their variants. */
function runsOf(kinds: RegExp): Run[] {
  return rows
    .filter(({ kind, want }) => kinds.test(kind) && want.accept !== null)
    .flatMap((row) => [
      { name: row.id, row, at: row.time, trustRoot: true, want: row.want },
      ...(row.variants ?? []).map((variant) => ({
        name: `${row.id}, ${variant.name}`,
        row,
        at: variant.at ?? row.time,
        trustRoot: variant.trustRoot ?? true,
        want: variant.want,
      })),
    ]);
}

const file = (path: string): Uint8Array | undefined =>
  existsSync(path) ? new Uint8Array(readFileSync(path)) : undefined;

async function check(outcome: Outcome, { want, name }: Run): Promise<void> {
  const { verdict } = judge(outcome);
  const allowed = want.verdict ?? [want.accept === true ? "accepted" : "rejected"];
  expect(allowed, `${name}: ${want.why}`).toContain(verdict);
  if (want.tcb !== null && !(want.tcbOptional && outcome.tcb === undefined))
    expect(outcome.tcb?.status, name).toBe(want.tcb);
  // What is judged goes into a token and out of it, and the token trusts no more than the verdict.
  const ear = await earOf(outcome, defaultPolicy, { issuedAt: outcome.at });
  expect(decodeEar(encodeEar(ear)), name).toEqual(ear);
  expect(ear.ear_status === "affirming" || ear.ear_status === "warning", name).toBe(verdict === "accepted");
}

test("every row with a verdict is judged below", () => {
  const judged = /^(snp|tdx|sgx)-|^hcl|^cert-only/;
  expect(rows.filter(({ kind, want }) => want.accept !== null && !judged.test(kind))).toEqual([]);
});

const providers = [
  ["node:crypto", nativeProvider()],
  ["WebCrypto", webProvider(webcrypto.subtle as unknown as Subtle)],
] as const satisfies readonly (readonly [string, CryptoProvider | undefined])[];

describe.runIf(folder !== undefined).each(providers)(
  "recorded evidence is judged rightly by %s",
  (_name, crypto) => {
    const options = (run: Run, root: string) => {
      const der = file(join(folder as string, dirname(run.row.files[0] as string), root));
      const roots: TrustAnchor[] | undefined =
        run.trustRoot && der !== undefined ? [anchorOf(der)] : undefined;
      return { at: run.at, ...(roots && { roots }), ...(crypto && { crypto }) };
    };

    test.each(runsOf(/^snp-/).filter(({ row }) => row.files.some((path) => path.endsWith("report.bin"))))(
      "$name",
      async (run) => {
        const at = join(folder as string, dirname(run.row.files[0] as string));
        const of = (...names: readonly string[]) =>
          names.map((name) => file(join(at, name))).filter((bytes) => bytes !== undefined);
        const outcome = await verifySnp(
          {
            report: file(join(at, "report.bin")) as Uint8Array,
            certificates: of("vcek.der", "vlek.der", "ask.der", ...(run.trustRoot ? ["ark.der"] : [])),
            crls: of("crl.der"),
          },
          options(run, "ark.der"),
        );
        await check(outcome, run);
      },
    );

    test.each(runsOf(/^cert-only/))("$name", async (run) => {
      const report = file(join(folder as string, run.row.evidence as string)) as Uint8Array;
      const certificates = run.row.files.map((path) => file(join(folder as string, path)) as Uint8Array);
      await check(await verifySnp({ report, certificates }, options(run, "ark.der")), run);
    });

    test.each(runsOf(/^hcl/))("$name", async (run) => {
      const at = join(folder as string, dirname(run.row.files[0] as string));
      const [json, quote, vcek] = ["evidence.json", "td-quote.bin", "vcek.der"].map((name) =>
        file(join(at, name)),
      );
      const report = file(join(at, "hcl-report.bin")) as Uint8Array;
      const evidence = {
        ...(json && hclEvidenceOf(json)),
        report,
        ...(vcek && { certificates: [vcek] }),
        ...(quote && { quote }),
      };
      const outcome = await verifyHcl(evidence, options(run, "ark.der"));
      await check(outcome, run);
      const [message, signature] = ["tpm-quote.msg", "tpm-quote.sig"].map((name) => file(join(at, name)));
      if (message === undefined || signature === undefined) return;
      // The quote that lies beside this report is of another machine: no key of the report signed it.
      const quoted = await verifyHcl(
        { ...evidence, tpmQuote: { message, signature } },
        options(run, "ark.der"),
      );
      expect(quoted.checks.filter(({ result }) => result === "failed").map(({ id }) => id)).toEqual([
        "tpm.quote.signature",
      ]);
    });

    test.each(runsOf(/^(tdx|sgx)-/))("$name", async (run) => {
      const at = join(folder as string, dirname(run.row.files[0] as string));
      const from =
        run.row.collateral === undefined || run.row.collateral === null
          ? at
          : join(folder as string, "collateral", run.row.collateral.replace(/^collateral\//, ""));
      const signers = file(join(from, "tcb_signing_chain.pem"));
      const parts = {
        tcbInfo: file(join(from, "tcbinfo.json")),
        qeIdentity: file(join(from, "qeidentity.json")),
        rootCrl: file(join(from, "root_ca_crl.der")),
        pckCrl: file(join(from, "pck_crl.der")),
      };
      const collateral: QuoteCollateral = {
        ...Object.fromEntries(Object.entries(parts).filter(([, bytes]) => bytes !== undefined)),
        ...(signers && { signers: [signers] }),
      };
      const quote = file(join(at, "quote.bin")) as Uint8Array;
      const verify = run.row.kind.startsWith("sgx") ? verifySgx : verifyTdx;
      await check(await verify({ quote, collateral }, options(run, "root_ca.der")), run);
      for (const [name, explained] of [
        ["ccel_data.dat", [0, 1, 2]],
        ["quote-report.json", [0, 1, 2, 3]],
      ] as const) {
        const eventLog = file(join(at, name));
        if (eventLog === undefined) continue;
        const logged = await verifyTdxLog({ quote, collateral, eventLog }, options(run, "root_ca.der"));
        await check(logged, run);
        expect(logged.claims?.log?.banks).toEqual([{ bank: "sha384", explained, unknown: [] }]);
      }
    });
  },
);

/** What another parser made of a log; its word is compared, and not relied on. */
interface OtherLog {
  readonly uefi_event_logs: readonly {
    readonly index: number;
    readonly type_name: string;
    readonly digests: readonly { readonly digest: string }[];
  }[];
}

test.each(rows.filter(({ kind }) => kind === "ccel"))(
  "$id holds the events that another parser finds",
  (row) => {
    const [log, other] = row.files.map((path) => file(join(folder as string, path)) as Uint8Array);
    const events = parseEventLog(log as Uint8Array).events.map(({ index, type, digests }) => ({
      index,
      type: eventTypeName(type),
      digest: digests[0] && toHex(digests[0].digest),
    }));
    const { uefi_event_logs: expected }: OtherLog = JSON.parse(new TextDecoder().decode(other));
    expect(events).toEqual(
      expected.map(({ index, type_name: type, digests }) => ({ index, type, digest: digests[0]?.digest })),
    );
  },
);
