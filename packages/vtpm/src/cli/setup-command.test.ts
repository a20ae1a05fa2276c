import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodePermanent, FileNvStore } from "@entresol/tpm";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { inspect } from "../inspection.ts";
import { StateLock } from "../state-lock.ts";
import { main } from "./main.ts";

const folder = mkdtempSync(join(tmpdir(), "entresol-vtpm-setup-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => vi.restoreAllMocks());
let folders = 0;
function newFolder(): string {
  const path = join(folder, `state${folders++}`);
  mkdirSync(path);
  return path;
}

/** Runs `entresol-vtpm setup` in this process. */
async function setup(...args: readonly string[]) {
  const said = { out: "", err: "" };
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    said.out += text;
    return true;
  });
  vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    said.err += text;
    return true;
  });
  try {
    return { status: await main(["setup", ...args]), ...said };
  } finally {
    vi.restoreAllMocks();
  }
}

const ca = join(folder, "ca");

describe("entresol-vtpm setup", () => {
  it("makes a TPM with certificates, says what it made and writes the certificates out", async () => {
    const [state, certificates] = [join(newFolder(), "web, 1"), newFolder()];
    mkdirSync(state);
    const { status, out } = await setup(
      ...[
        "--tpmstate",
        state,
        "--ca",
        ca,
        "--ek",
        "p256,p384",
        "--create-platform-cert",
        "--create-spk",
        "--ecc",
      ],
      ...["--vmid", "web1", "--pcr-banks", "sha256,sha384", "--write-ek-cert-files", certificates, "--json"],
    );
    expect(status).toBe(0);
    const outcome = JSON.parse(out);
    expect(outcome).toMatchObject({
      state,
      endorsementKeys: [
        { key: "p256", template: "L-2", handle: "0x8101000a", certificate: { nvIndex: "0x01c0000a" } },
        { key: "p384", template: "H-3", handle: "0x81010016", certificate: { nvIndex: "0x01c00016" } },
      ],
      storageRoot: { handle: "0x81000001" },
      platformCertificate: { nvIndex: "0x01c08000" },
      pcrBanks: ["sha256", "sha384"],
    });
    expect(readdirSync(certificates)).toEqual(["ek-secp256r1.crt", "ek-secp384r1.crt"]);
    const written = readFileSync(join(certificates, "ek-secp256r1.crt"));
    expect(written.length).toBe(outcome.endorsementKeys[0].certificate.size);
    expect(written.includes("web1")).toBe(true);
  });

  it("tells its steps one a line without a terminal, or in a log file", async () => {
    const told = await setup("--tpmstate", newFolder(), "--ek", "p256");
    expect(told.err).toBe("setup: endorsement key p256\nsetup: PCR banks SHA256\nsetup: done\n");
    const logfile = join(folder, "log");
    const logged = await setup("--tpmstate", newFolder(), "--ek", "p256", "--logfile", logfile, "--quiet");
    expect(logged).toEqual({ status: 0, out: "", err: "" });
    expect(readFileSync(logfile, "utf8")).toBe(told.err);
  });

  it("replaces a TPM only when told to, and changes its PCR banks alone", async () => {
    const state = newFolder();
    const made = ["--tpmstate", `dir=${state}`, "--ek", "p256", "--json"];
    const first = JSON.parse((await setup(...made)).out);
    expect(await setup(...made)).toEqual({
      status: 1,
      out: "",
      err: `entresol-vtpm: ${state}: a TPM is there already; --overwrite makes a new one in its place, --not-overwrite leaves it alone\n`,
    });
    expect(JSON.parse((await setup(...made, "--not-overwrite")).out)).toEqual({ state, kept: true });
    const banks = ["--tpm-state", `dir://${state}`, "--reconfigure", "--pcr-banks", "sha512"];
    expect((await setup(...banks)).status).toBe(0);
    expect((await setup("--tpmstate", state, "--reconfigure", "--pcr-banks", "-")).out).toBe(
      `PCR banks: unchanged\n${state}: the TPM is ready\n`,
    );
    const store = FileNvStore.open(state);
    const view = inspect(decodePermanent(store.load()!), undefined);
    store.close();
    expect(view.pcrBanks).toEqual(["SHA512"]);
    expect(view.persistent.map(({ name }) => name)).toEqual([first.endorsementKeys[0].name]);
    const second = JSON.parse((await setup(...made, "--overwrite")).out);
    expect(second.endorsementKeys[0].name).not.toBe(first.endorsementKeys[0].name);
  });

  it("encrypts the state under a key, and finds nothing there without it", async () => {
    const state = newFolder();
    const key = join(folder, "key");
    writeFileSync(key, "00112233445566778899aabbccddeeff");
    expect((await setup("--tpmstate", state, "--ek", "p256", "--keyfile", key, "--quiet")).status).toBe(0);
    const again = await setup("--tpmstate", state, "--ek", "p256", "--not-overwrite");
    expect(again.status).toBe(1);
    expect(again.err).toMatch(/encrypted/);
    expect((await setup("--tpmstate", state, "--key", `file=${key}`, "--not-overwrite")).status).toBe(0);
    expect((await setup("--tpmstate", state, "--ek", "p256", "--overwrite", "--quiet")).status).toBe(0);
    expect((await setup("--tpmstate", state, "--not-overwrite")).status).toBe(0);
  });

  it("leaves a state alone that a service uses", async () => {
    const state = newFolder();
    const lock = await StateLock.acquire(state);
    const { status, err } = await setup("--tpmstate", state, "--ek", "p256", "--overwrite");
    await lock.release();
    expect(status).toBe(1);
    expect(err).toMatch(/another service uses this state/);
    expect(readdirSync(state)).toEqual([]);
  });

  it("leaves nothing behind when it fails", async () => {
    const state = newFolder();
    const broken = join(folder, "broken-ca");
    mkdirSync(broken);
    writeFileSync(join(broken, "signkey.pem"), "nothing", { mode: 0o600 });
    const { status, err } = await setup("--tpmstate", state, "--ca", broken, "--create-ek-cert");
    expect(status).toBe(1);
    expect(err).toMatch(/signkey\.pem holds no private key/);
    expect(readdirSync(state)).toEqual([]);
  });

  it.each([
    [["--ek", "p256"], 2, "--tpmstate FOLDER, or $TPM_PATH, has to say where the state goes"],
    [["--tpmstate", "/", "--ek", "rsa1024"], 2, "--ek rsa1024: keys are rsa2048, p256, p384, rsa3072"],
    [["--tpmstate", "/", "--pcr-banks", "md5"], 2, "--pcr-banks md5: banks are sha1, sha256, sha384, sha512"],
    [
      ["--tpmstate", "/", "--key", "file=a", "--pwdfile", "b"],
      2,
      "--key and --pwdfile: the state has one key",
    ],
    [["--tpmstate", "/nonexistent/state"], 1, "/nonexistent/state: no such file or folder"],
    [["--tpmstate", folder, "--reconfigure"], 1, `${folder}: there is no TPM's state in this folder`],
    [
      ["--tpmstate", folder, "--write-ek-cert-files", "/nonexistent"],
      1,
      "/nonexistent: no such file or folder",
    ],
  ])("setup %s ends with %i: %s", async (args, status, text) => {
    vi.stubEnv("TPM_PATH", "");
    expect(await setup(...args)).toEqual({ status, out: "", err: `entresol-vtpm: ${text}\n` });
    vi.unstubAllEnvs();
  });

  it("tells what it can do as swtpm_setup does", async () => {
    const { status, out } = await setup("--print-capabilities");
    expect(status).toBe(0);
    expect(JSON.parse(out)).toMatchObject({
      type: "swtpm_setup",
      features: expect.arrayContaining(["tpm-2.0", "cmdarg-pwdfile-fd", "cmdarg-reconfigure-pcr-banks"]),
    });
  });
});
