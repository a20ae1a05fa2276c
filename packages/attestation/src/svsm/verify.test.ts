import { buildSvsmManifest, buildTpmPublic } from "@entresol/evidence";
import { ObjectAttribute } from "@entresol/tpm-types";
import { describe, expect, test } from "vitest";
import { judge } from "../appraise.ts";
import { attributesOf, bootLog, goodNonce, quotingKey, tpmQuote } from "../testing/boot-evidence.ts";
import { endorsementArea, type SvsmInput, svsm, svsmNonce } from "../testing/paravisor-evidence.ts";
import { type SvsmEvidence, type SvsmOptions, verifySvsm } from "./verify.ts";

const at = "2026-06-01T00:00:00Z";

/** Verifies what an SVSM said, trusting its own root. Gives the checks that did not pass. */
async function judged(input: SvsmInput = {}, more: Partial<SvsmEvidence> = {}, options: SvsmOptions = {}) {
  const made = svsm(input);
  const outcome = await verifySvsm({ ...made, ...more }, { at, roots: made.roots, ...options });
  const off = outcome.checks.filter(({ result }) => result !== "passed");
  return {
    outcome,
    off: off
      .map(({ id, result }) => `${id} ${result}`)
      .filter((line) => line !== "svsm.snp.revocation not-run"),
  };
}

const ek = buildTpmPublic(endorsementArea(), "tpmt");
const area = (objectAttributes: number) => buildTpmPublic(endorsementArea(objectAttributes), "tpmt");
const mm = "a4453a59-9e1b-4787-a033-1986d6adbe55";

describe("an SVSM's attestation", () => {
  test("of its services is accepted, and names the endorsement key", async () => {
    const { outcome, off } = await judged({}, {}, { nonce: svsmNonce });
    expect(off).toEqual([]);
    expect(outcome.kind).toBe("svsm-snp");
    expect(outcome.claims?.endorsementKey?.bytes).toEqual(ek);
    expect(judge(outcome).verdict).toBe("accepted");
  });

  test("of the virtual TPM alone is the endorsement key's public area", async () => {
    for (const manifest of [ek, buildTpmPublic(endorsementArea(), "tpm2b")]) {
      const { outcome, off } = await judged({ manifest });
      expect(off).toEqual([]);
      expect(outcome.claims?.manifest).toBeUndefined();
      expect(outcome.claims?.endorsementKey?.bytes).toEqual(ek);
    }
  });

  const cases: [string, SvsmInput, Partial<SvsmEvidence>, readonly string[]][] = [
    [
      "with another hash in REPORT_DATA",
      { reportData: (good) => good.with(63, (good[63] as number) ^ 1) },
      {},
      ["svsm.manifest.binding failed"],
    ],
    ["of another nonce", {}, { nonce: svsmNonce.with(0, 9) }, ["svsm.manifest.binding failed"]],
    [
      "of a short nonce, with which bytes could wander into the manifest",
      { nonce: svsmNonce.subarray(0, 32) },
      {},
      ["svsm.nonce failed", "svsm.manifest.binding not-run"],
    ],
    [
      "of another manifest",
      {},
      { manifest: buildSvsmManifest([{ guid: mm, data: new Uint8Array(4) }]) },
      ["svsm.manifest.binding failed", "svsm.ek failed"],
    ],
    [
      "with bytes behind the manifest",
      { manifest: Uint8Array.of(...buildSvsmManifest([{ guid: mm, data: ek }]), 0) },
      {},
      ["svsm.manifest.length failed", "svsm.ek failed"],
    ],
    [
      "of a broken manifest",
      { manifest: Uint8Array.of(0xbb, 1, 2) },
      {},
      ["svsm.manifest.form failed", "svsm.manifest.length not-run", "svsm.ek not-run"],
    ],
    ["that a guest at VMPL 2 asked for", { chip: { report: { vmpl: 2 } } }, {}, ["svsm.vmpl failed"]],
    [
      "whose endorsement key may leave",
      { manifest: area(attributesOf.ek & ~ObjectAttribute.fixedTPM) },
      {},
      ["svsm.ek failed"],
    ],
    [
      "whose endorsement key is not restricted",
      { manifest: area(attributesOf.ek & ~ObjectAttribute.restricted) },
      {},
      ["svsm.ek failed"],
    ],
    [
      "of a machine with a bad signature",
      { chip: { change: (r) => r.set([1], 0x90) } },
      {},
      ["svsm.snp.signature failed"],
    ],
  ];
  test.each(cases)("%s is refused", async (_name, input, more, expected) => {
    const { outcome, off } = await judged(input, more);
    expect(off).toEqual(expected);
    expect(judge(outcome).verdict).toBe("rejected");
  });

  test("with another nonce than the one asked for is refused, though it is bound", async () => {
    expect((await judged({}, {}, { nonce: svsmNonce.with(0, 9) })).off).toEqual(["svsm.nonce failed"]);
  });

  test("without its nonce cannot be judged", async () => {
    const { nonce: _, roots, ...evidence } = svsm();
    const outcome = await verifySvsm(evidence, { at, roots });
    expect(judge(outcome).verdict).toBe("unverified");
    expect(outcome.checks.find(({ id }) => id === "svsm.manifest.binding")?.result).toBe("not-run");
  });

  test("loses no rule of the SNP report", async () => {
    const { outcome } = await judged({ chip: { report: { policy: 0xb_0000n } } });
    expect(judge(outcome).reasons.filter(({ holds }) => !holds)).toMatchObject([
      { rule: "/snp/guestPolicy/debug", check: "svsm.snp.signature" },
    ]);
  });
});

describe("a quote of the SVSM's TPM", () => {
  const ak = buildTpmPublic(quotingKey("rsa", "ak").publicArea, "tpm2b");
  const quoted = { tpmQuote: tpmQuote(), eventLog: bootLog(), attestationKey: ak };

  test("is believed once its key was activated under the endorsement key", async () => {
    const activated = [{ endorsementKey: buildTpmPublic(endorsementArea(), "tpm2b"), attestationKey: ak }];
    const { outcome, off } = await judged({}, quoted, { activated, quoteNonce: goodNonce });
    expect(off).toEqual([]);
    expect(outcome.claims?.log?.banks).toHaveLength(1);
    expect(judge(outcome, { tpm: { quote: "required", eventLog: "required" } }).verdict).toBe("accepted");
  });

  test("is not judged without that, or when another pair was activated", async () => {
    const other = buildTpmPublic(quotingKey("rsa", "other").publicArea, "tpmt");
    for (const activated of [
      [],
      [{ endorsementKey: ek, attestationKey: other }],
      [{ endorsementKey: other, attestationKey: ak }],
      [{ endorsementKey: new Uint8Array(3), attestationKey: ak }],
    ]) {
      const { outcome, off } = await judged({}, quoted, { activated });
      expect(off).toContain("tpm.key not-run");
      expect(judge(outcome).verdict).toBe("unverified");
    }
  });

  test("by an endorsement key that signs needs no other key", async () => {
    const key = quotingKey("rsa", "ak");
    const manifest = buildTpmPublic(key.publicArea, "tpmt");
    expect((await judged({ manifest }, { tpmQuote: tpmQuote({ key }) })).off).toEqual([]);
  });

  test("whose key cannot be read is refused", async () => {
    const { off } = await judged({}, { ...quoted, attestationKey: ak.subarray(0, 20) });
    expect(off).toContain("tpm.key failed");
  });
});
