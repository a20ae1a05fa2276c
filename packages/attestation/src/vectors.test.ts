import { webcrypto } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { judge } from "./appraise.ts";
import { verifyTdxLog } from "./ccel/verify.ts";
import { nativeProvider } from "./crypto/native.ts";
import type { CryptoProvider } from "./crypto/provider.ts";
import { type Subtle, webProvider } from "./crypto/web.ts";
import { hclEvidenceOf } from "./hcl/evidence-json.ts";
import { verifyHcl } from "./hcl/verify.ts";
import type { Outcome } from "./outcome.ts";
import { verifySnp } from "./snp/verify.ts";
import { type QuoteCollateral, verifySgx, verifyTdx } from "./tdx/verify.ts";
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

function check(outcome: Outcome, { want, name }: Run): void {
  const { verdict } = judge(outcome);
  const allowed = want.verdict ?? [want.accept === true ? "accepted" : "rejected"];
  expect(allowed, `${name}: ${want.why}`).toContain(verdict);
  if (want.tcb !== null && !(want.tcbOptional && outcome.tcb === undefined))
    expect(outcome.tcb?.status, name).toBe(want.tcb);
}

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
        check(outcome, run);
      },
    );

    test.each(runsOf(/^hcl/))("$name", async (run) => {
      const at = join(folder as string, dirname(run.row.files[0] as string));
      const [json, quote, vcek] = ["evidence.json", "td-quote.bin", "vcek.der"].map((name) =>
        file(join(at, name)),
      );
      const [message, signature] = ["tpm-quote.msg", "tpm-quote.sig"].map((name) => file(join(at, name)));
      const report = file(join(at, "hcl-report.bin")) as Uint8Array;
      const outcome = await verifyHcl(
        {
          ...(json && hclEvidenceOf(json)),
          report,
          ...(vcek && { certificates: [vcek] }),
          ...(quote && { quote }),
          ...(message && signature && { tpmQuote: { message, signature } }),
        },
        options(run, "ark.der"),
      );
      check(outcome, run);
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
      check(await verify({ quote, collateral }, options(run, "root_ca.der")), run);
      const eventLog = file(join(at, "ccel_data.dat"));
      if (eventLog === undefined) return;
      const logged = await verifyTdxLog({ quote, collateral, eventLog }, options(run, "root_ca.der"));
      check(logged, run);
      expect(logged.claims?.log?.banks).toEqual([{ bank: "sha384", explained: [0, 1, 2], unknown: [] }]);
    });
  },
);
