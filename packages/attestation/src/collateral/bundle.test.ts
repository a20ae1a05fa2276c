import { encodePem } from "@entresol/evidence";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { EvidenceError } from "../errors.ts";
import { openBundles } from "../submission/bundles.ts";
import { Submission } from "../submission/submission.ts";
import { verifyTdx } from "../tdx/verify.ts";
import { platform, platformTime } from "../testing/quote-evidence.ts";
import { type BundleEntry, makeBundle, readBundle, writeBundle } from "./bundle.ts";

const good = platform();
const { tcbInfo, qeIdentity, rootCrl, pckCrl } = good.collateral;
const signers = new TextEncoder().encode(
  [good.signer, good.chain[2]].map((der) => encodePem("CERTIFICATE", der)).join(""),
);
const entries: readonly BundleEntry[] = [
  { role: "tcb-info", name: "tcbinfo.json", data: tcbInfo, source: "https://service.example/tcb" },
  { role: "qe-identity", name: "qeidentity.json", data: qeIdentity },
  { role: "tcb-signers", name: "tcb_signing_chain.pem", data: signers },
  { role: "root-crl", name: "root_ca_crl.der", data: rootCrl },
  { role: "pck-crl", name: "pck_crl.der", data: pckCrl },
];
const made = Date.parse("2026-06-01T12:00:00Z");
const bundle = await makeBundle(entries, { made });
const json = (): Record<string, never> => JSON.parse(new TextDecoder().decode(writeBundle(bundle)));
const fault = async (file: unknown): Promise<string> => {
  const bytes = file instanceof Uint8Array ? file : new TextEncoder().encode(JSON.stringify(file));
  const error = await readBundle(bytes).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(EvidenceError);
  expect((error as EvidenceError).code).toBe("bad-input");
  return (error as EvidenceError).message;
};

describe("a bundle of collateral", () => {
  test.each(["json", "cbor"] as const)("comes back from %s as it was", async (form) => {
    const read = await readBundle(writeBundle(bundle, form));
    expect(read).toEqual(bundle);
    expect(writeBundle(read, form)).toEqual(writeBundle(bundle, form));
  });

  test("states the time in which all of it is valid", () => {
    const { window } = bundle;
    expect(window?.from).toBe(Math.max(...bundle.entries.map((entry) => entry.window?.from ?? 0)));
    expect(window?.to).toBe(Math.min(...bundle.entries.map((entry) => entry.window?.to ?? Number.MAX_VALUE)));
    expect((window?.to ?? 0) > (window?.from ?? 0)).toBe(true);
  });

  test.each(["json", "cbor"] as const)("in %s is all that offline verification needs", async (form) => {
    const submission = new Submission();
    expect(submission.add({ name: "collateral.bin", bytes: writeBundle(bundle, form) })).toBe(true);
    await openBundles(submission);
    const { verified, tcb } = await verifyTdx(
      { quote: good.quote, collateral: submission.collateral() },
      { at: platformTime, roots: good.roots },
    );
    expect(verified).toBeDefined();
    expect(tcb?.status).toBe("UpToDate");
  });

  test("is refused when a document is not what its hash says", async () => {
    const file = json() as unknown as { entries: { data: string }[] };
    const entry = file.entries[0] as { data: string };
    entry.data = Buffer.from(tcbInfo.map((byte, i) => (i === 40 ? byte ^ 1 : byte))).toString("base64");
    expect(await fault(file)).toMatch(/tcb-info|has the hash/);
    const other = json() as unknown as { entries: { sha256: string }[] };
    (other.entries[3] as { sha256: string }).sha256 = "0".repeat(64);
    expect(await fault(other)).toContain("/entries/3: root_ca_crl.der has the hash");
  });

  test("is refused when it states another window than the document", async () => {
    const file = json() as unknown as { entries: { to: string }[] };
    (file.entries[4] as { to: string }).to = "2036-01-01T00:00:00Z";
    expect(await fault(file)).toContain("/entries/4: pck_crl.der is not valid for the time that is stated");
  });

  test("is refused with members that are not known, twice there, or of another kind", async () => {
    expect(await fault({ ...json(), trust: true })).toContain("trust");
    expect(await fault({ ...json(), version: 2 })).toContain("/version");
    expect(await fault({ ...json(), entries: [{ role: "root" }] })).toContain("/entries/0/role");
    const text = new TextDecoder().decode(writeBundle(bundle));
    expect(
      await fault(new TextEncoder().encode(text.replace('"version"', '"format": "x", "version"'))),
    ).toContain("twice");
  });

  test("cannot be made of a document that is not what its role says", async () => {
    await expect(makeBundle([{ role: "crl", name: "x", data: tcbInfo }])).rejects.toThrow("x is no crl");
  });

  test("of any bytes, or with any byte changed, is read or refused, and nothing else", async () => {
    const cbor = writeBundle(bundle, "cbor");
    await fc.assert(
      fc.asyncProperty(fc.nat(cbor.length - 1), fc.integer({ min: 1, max: 255 }), async (at, change) => {
        const bytes = cbor.slice();
        bytes[at] = (bytes[at] as number) ^ change;
        try {
          const read = await readBundle(bytes);
          for (const [i, entry] of read.entries.entries()) expect(entry.data).toEqual(entries[i]?.data);
        } catch (error) {
          expect(error).toBeInstanceOf(EvidenceError);
        }
      }),
      { numRuns: 150 },
    );
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), async (bytes) => {
        await fault(bytes);
      }),
    );
  });
});
