import { spawnSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureGuest } from "@entresol/vmm";
import { expect, it } from "vitest";
import { bootLinux } from "./boot-linux.ts";
import { double } from "./own-device.ts";
import { firmwareMeasurement } from "./qemu-tpm.ts";
import { sealAndUnseal } from "./seal-unseal.ts";
import { addingKernel, runKernel } from "./test-kernel.ts";
import { overSocket } from "./tpm-client.ts";
import { certifiedName, makeTpm } from "./tpm-setup.ts";

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
