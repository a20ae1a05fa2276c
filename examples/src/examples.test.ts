import { spawnSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { anchorOf, writeBundle } from "@entresol/attestation";
import { ensureGuest } from "@entresol/vmm";
import { expect, it } from "vitest";
import { bootLinux } from "./boot-linux.ts";
import { binding, gate } from "./gate-secret.ts";
import { double } from "./own-device.ts";
import { firmwareMeasurement } from "./qemu-tpm.ts";
import { makeSampleChip } from "./sample-chip.ts";
import { sealAndUnseal } from "./seal-unseal.ts";
import { addingKernel, runKernel } from "./test-kernel.ts";
import { overSocket } from "./tpm-client.ts";
import { certifiedName, makeTpm } from "./tpm-setup.ts";
import { collateralOf, judgeOffline } from "./verify-offline.ts";
import { verdictOn } from "./verify-report.ts";

it("own-device: the guest reads what the device made of its value", async () => {
  expect(await double(4)).toBe("8");
  expect(await double(1)).toBe("2");
});

it("test-kernel: the kernel ends with its result", async () => {
  expect(await runKernel(addingKernel())).toEqual({ output: "", end: 0 });
});

it("tpm-client: a signature that the TPM made verifies", async () => {
  expect(await overSocket(Buffer.from("to whom it may concern"))).toBe(true);
});

it("seal-unseal: the secret is there until something else is measured", async () => {
  expect(await sealAndUnseal("a secret")).toEqual(["a secret", "TPM_RC_POLICY_FAIL of session 1"]);
});

it("tpm-setup: a verifier knows the TPM by its authority, and no other's", async () => {
  const folder = mkdtempSync(join(tmpdir(), "entresol-examples-"));
  try {
    await makeTpm(folder, join(folder, "ca"), "web1");
    const root = new X509Certificate(readFileSync(join(folder, "ca", "swtpm-localca-rootca-cert.pem")));
    expect(await certifiedName(folder, root)).toBe("CN=web1");
    const issuer = new X509Certificate(readFileSync(join(folder, "ca", "issuercert.pem")));
    expect(await certifiedName(folder, issuer)).toBeUndefined();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const at = "2026-06-01T00:00:00Z";

it("verify-report: the verdict, and what stands in its way", async () => {
  const chip = await makeSampleChip();
  const certificates = [chip.vcek, chip.ask];
  const options = { at, roots: [anchorOf(chip.ark)] };
  const report = await chip.report();
  expect(await verdictOn(report, certificates, options)).toEqual(["accepted"]);
  expect(await verdictOn(await chip.report({ policy: 0xb_0000n }), certificates, options)).toEqual([
    "rejected",
  ]);
  report[0x90] = 1;
  expect(await verdictOn(report, certificates, options)).toEqual([
    "rejected",
    "snp.signature: the key of SEV-VCEK did not sign these bytes",
  ]);
  expect((await verdictOn(await chip.report(), certificates, { at }))[0]).toBe("rejected");
});

it("verify-offline: a bundle has all that is needed, and nothing in it is believed", async () => {
  const chip = await makeSampleChip();
  const roots = [anchorOf(chip.ark)];
  const report = await chip.report();
  for (const form of ["json", "cbor"] as const)
    expect(await judgeOffline(report, writeBundle(await collateralOf(chip), form), at, roots)).toEqual([
      "accepted",
    ]);
  const stranger = writeBundle(await collateralOf(await makeSampleChip()));
  const judged = await judgeOffline(report, stranger, at, roots);
  expect(judged[0]).toBe("rejected");
  expect(judged).toContainEqual(expect.stringMatching(/^snp\.signature failed: /));
});

it("gate-secret: only the guest that the policy accepts, in this conversation, gets the secret", async () => {
  const chip = await makeSampleChip();
  const keys = await crypto.subtle.generateKey(
    { name: "RSA-OAEP", hash: "SHA-256", modulusLength: 2048, publicExponent: Uint8Array.of(1, 0, 1) },
    true,
    ["encrypt", "decrypt"],
  );
  const publicKey = new Uint8Array(await crypto.subtle.exportKey("spki", keys.publicKey));
  const nonce = Uint8Array.of(1, 2, 3);
  const measurement = new Uint8Array(48).fill(0x11);
  const report = await chip.report({ measurement, reportData: await binding(nonce, publicKey) });
  const request = { report, certificates: [chip.vcek, chip.ask], publicKey };
  const options = { at, roots: [anchorOf(chip.ark)] };
  const policy = { snp: { measurements: ["11".repeat(48)] } };
  const given = await gate("open sesame", request, nonce, policy, options);
  const opened = await crypto.subtle.decrypt(
    "RSA-OAEP",
    keys.privateKey,
    new Uint8Array(given as Uint8Array),
  );
  expect(new TextDecoder().decode(opened)).toBe("open sesame");
  const refusals = [
    await gate("open sesame", request, Uint8Array.of(9), policy, options),
    await gate("open sesame", request, nonce, { snp: { measurements: ["22".repeat(48)] } }, options),
    await gate("open sesame", request, nonce, policy, { at }),
  ];
  expect(refusals.map((refusal) => (refusal as string[])[0]?.split(":")[0])).toEqual([
    "/snp/reportData",
    "/snp/measurements",
    "snp.chain",
  ]);
});

const noQemu = spawnSync("qemu-system-x86_64", ["--version"]).error !== undefined;
if (noQemu) console.log("qemu-tpm skipped: QEMU is not installed");

it.skipIf(noQemu && process.env["ENTRESOL_REQUIRE_PEERS"] !== "1").each(["tpm-crb", "tpm-tis"] as const)(
  "qemu-tpm: the firmware measures itself by %s",
  async (name) => {
    expect(await firmwareMeasurement(name)).toMatch(/^(?!0{64})[0-9a-f]{64}$/);
  },
);

/** The guest comes from Debian's archive: where that is out of reach there is nothing to boot. */
const missing = await ensureGuest("debian12").then(
  () => undefined,
  (error: Error) => error.message,
);
if (missing !== undefined) console.log(`boot-linux skipped: ${missing}`);

it.skipIf(missing !== undefined && process.env["ENTRESOL_REQUIRE_PEERS"] !== "1")(
  "boot-linux: Debian runs a command and powers off",
  { timeout: 120_000 },
  async () => {
    const done = await bootLinux("debian12", "echo hello from $(uname -s); exit 3");
    expect(done).toEqual({ output: "hello from Linux\n", status: 3, stop: "power-off" });
  },
);
