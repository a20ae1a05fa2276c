import { execFile, spawn, spawnSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Alg, Cap } from "@entresol/tpm-types";
import { Certificate } from "pkijs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TpmClient } from "../client/tpm-client.ts";
import { connectTpm, inProcess } from "../client/transport.ts";
import { SocketService } from "../socket-service.ts";
import { MemoryStore } from "../state-store.ts";
import { listening } from "../testing/loopback-client.ts";
import { TpmHost } from "../tpm-host.ts";
import { CertificateAuthority } from "./certificate-authority.ts";
import { endorsementKeys } from "./endorsement-keys.ts";
import { NvArea, readArea } from "./nv-areas.ts";
import { setUp } from "./setup.ts";

/* What was provisioned, as OpenSSL, tpm2-tools and swtpm_setup see it. */

const required = process.env["ENTRESOL_REQUIRE_PEERS"] === "1";
const programs = ["openssl", "swtpm_setup", "tpm2_getekcertificate"] as const;
const missing = programs.filter((name) => spawnSync(name, ["--version"]).error !== undefined);
if (missing.length > 0) {
  const text = `${missing.join(", ")} not installed: what is provisioned is not looked at by others`;
  if (required) throw new Error(text);
  console.log(text);
}

const folder = mkdtempSync(join(tmpdir(), "entresol-setup-peers-"));
const cleanups: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true })];
afterAll(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const execute = promisify(execFile);
async function run(
  program: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<string> {
  const { stdout } = await execute(program, args, { cwd: folder, env: { ...process.env, ...env } });
  return stdout;
}

const pcrBanks = [Alg.SHA256, Alg.SHA384];

/** Public areas, NV and PCR banks of a TPM that was set up, without what differs from one TPM to another. */
async function looks(client: TpmClient) {
  const keys = [];
  for (const { persistentHandle } of [endorsementKeys.rsa2048, endorsementKeys.p384]) {
    const { outPublic } = await client.run("ReadPublic", { objectHandle: persistentHandle }, {});
    const { unique: _, ...rest } = outPublic;
    keys.push(rest);
  }
  const indices = [];
  for (const nvIndex of [0x01c0_0002, 0x01c0_0016, 0x01c0_8000]) {
    const { nvPublic } = await client.run("NV_ReadPublic", { nvIndex }, {});
    const { dataSize: __, ...rest } = nvPublic;
    indices.push(rest);
  }
  const { capabilityData } = await client.run(
    "GetCapability",
    {},
    { capability: Cap.PCRS, property: 0, propertyCount: 16 },
  );
  return { keys, indices, capabilityData };
}

/** Every extension but the identifiers of keys; of a directory name the types, of the specification all but its revision. */
function extensionsOf(der: Uint8Array) {
  const { extensions = [] } = Certificate.fromBER(new Uint8Array(der));
  const identifiers = ["2.5.29.14", "2.5.29.35"];
  return extensions
    .filter(({ extnID }) => !identifiers.includes(extnID))
    .map(({ extnID, critical, extnValue }) => {
      const value = Buffer.from(extnValue.valueBlock.valueHexView).toString("hex");
      const parts: Readonly<Record<string, unknown>> = {
        "2.5.29.17": typesOf(value),
        "2.5.29.9": value.slice(0, -2),
      };
      return { extnID, critical, value: parts[extnID] ?? value };
    })
    .sort((a, b) => a.extnID.localeCompare(b.extnID));
}

/** The attribute types of a directory name, each in a set of its own with a UTF8String. */
function typesOf(value: string): string[] {
  return [...value.matchAll(/31..30..06(?:05|06)(67810[0-9a-f]{5,7})0c/g)].map(([, type]) => type!);
}

describe.skipIf(missing.length > 0)("a TPM that was set up", () => {
  const store = new MemoryStore();
  const ca = join(folder, "ca");
  let tcti: { TPM2TOOLS_TCTI: string };

  beforeAll(async () => {
    const authority = await CertificateAuthority.open(ca);
    const platform = { manufacturer: "Maker", model: "Model", version: "1.2" };
    const certification = { authority, commonName: "vm1", platform };
    await setUp(store, { keys: ["rsa2048", "p256", "p384"], certification, lockNv: true, pcrBanks });
    const host = new TpmHost({ store });
    host.start();
    host.startup(0);
    const port = await serveOnTwoPorts(host);
    tcti = { TPM2TOOLS_TCTI: `swtpm:host=127.0.0.1,port=${port}` };
    const client = new TpmClient(inProcess(host));
    for (const { name, certificateIndex } of Object.values(endorsementKeys).slice(0, 3))
      writeFileSync(join(folder, `${name}.der`), await readArea(client, certificateIndex));
    writeFileSync(join(folder, "platform.der"), await readArea(client, NvArea.platformCertificate));
  });

  it("has certificates that OpenSSL verifies strictly up to the root, and reads as the profile asks", async () => {
    const authority = ["-CAfile", "ca/swtpm-localca-rootca-cert.pem", "-untrusted", "ca/issuercert.pem"];
    for (const name of ["rsa2048", "secp384r1", "platform"]) {
      await run("openssl", ["x509", "-inform", "der", "-in", `${name}.der`, "-out", `${name}.pem`]);
      expect(await run("openssl", ["verify", "-x509_strict", ...authority, `${name}.pem`])).toBe(
        `${name}.pem: OK\n`,
      );
    }
    const text = await run("openssl", ["x509", "-in", "rsa2048.pem", "-noout", "-text"]);
    expect(text).toMatch(/Extended Key Usage: \n\s+2\.23\.133\.8\.1\n/);
    expect(text).toMatch(
      /Alternative Name: critical\n\s+DirName:\/2\.23\.133\.2\.1=id:454E5452\/2\.23\.133\.2\.2=Entresol\/2\.23\.133\.2\.3=id:00010000\n/,
    );
    expect(text).toMatch(/Key Usage: critical\n\s+Key Encipherment\n/);
    expect(text).toMatch(/Not After : Dec 31 23:59:59 9999 GMT/);
    expect(await run("openssl", ["x509", "-in", "secp384r1.pem", "-noout", "-text"])).toMatch(
      /Key Usage: critical\n\s+Key Agreement\n/,
    );
    expect(await run("openssl", ["x509", "-in", "platform.pem", "-noout", "-text"])).toMatch(
      /2\.23\.133\.5\.1\.1=Maker\/2\.23\.133\.5\.1\.4=Model\/2\.23\.133\.5\.1\.5=1\.2/,
    );
  });

  it("gives tpm2-tools its certificates, and the keys in them from the templates", async () => {
    await run("tpm2_getekcertificate", ["-o", "ek-rsa.crt", "-o", "ek-ecc.crt"], tcti);
    expect(readFileSync(join(folder, "ek-rsa.crt"))).toEqual(readFileSync(join(folder, "rsa2048.der")));
    expect(readFileSync(join(folder, "ek-ecc.crt"))).toEqual(readFileSync(join(folder, "secp256r1.der")));
    await run("tpm2_createek", ["-c", "ek.ctx", "-G", "rsa", "-u", "ek.pem", "-f", "pem"], tcti);
    const certificate = new X509Certificate(readFileSync(join(folder, "rsa2048.der")));
    expect(readFileSync(join(folder, "ek.pem"), "utf8")).toBe(
      certificate.publicKey.export({ type: "spki", format: "pem" }),
    );
  });

  it("looks as one that swtpm_setup made: keys, NV indices, PCR banks, extensions", {
    timeout: 30_000,
  }, async () => {
    for (const name of ["theirs", "theirs-ca", "certificates"]) mkdirSync(join(folder, name));
    const localCa = ["statedir =", "signingkey =", "issuercert =", "certserial ="];
    const files = ["", "/signkey.pem", "/issuercert.pem", "/certserial"];
    writeFileSync(
      join(folder, "localca.conf"),
      localCa.map((key, i) => `${key} ${folder}/theirs-ca${files[i]}\n`).join(""),
    );
    writeFileSync(
      join(folder, "localca.options"),
      "--platform-manufacturer M --platform-version 1 --platform-model N\n",
    );
    writeFileSync(
      join(folder, "setup.conf"),
      `create_certs_tool = swtpm_localca\ncreate_certs_tool_config = ${folder}/localca.conf\ncreate_certs_tool_options = ${folder}/localca.options\n`,
    );
    const flags = ["--create-ek-cert", "--create-platform-cert", "--ecc", "--lock-nvram", "--vmid", "vm1"];
    await run("swtpm_setup", [
      ...["--tpm2", "--tpm-state", join(folder, "theirs"), "--config", join(folder, "setup.conf")],
      ...flags,
      ...["--pcr-banks", "sha256,sha384", "--write-ek-cert-files", join(folder, "certificates")],
    ]);
    const path = join(folder, "theirs.sock");
    const swtpm = spawn(
      "swtpm",
      [
        ...["socket", "--tpm2", "--tpmstate", `dir=${folder}/theirs`, "--server", `type=unixio,path=${path}`],
        ...["--flags", "not-need-init,startup-clear"],
      ],
      { stdio: "ignore" },
    );
    cleanups.push(() => swtpm.kill());
    await listening(path);
    const theirs = new TpmClient(await connectTpm({ path }));
    cleanups.push(() => theirs.close());
    const ours = new TpmClient(inProcess(startedHost(store)));
    expect(await looks(ours)).toEqual(await looks(theirs));
    for (const nvIndex of [0x01c0_0002, 0x01c0_0016, NvArea.platformCertificate])
      expect(extensionsOf(await readArea(ours, nvIndex))).toEqual(
        extensionsOf(await readArea(theirs, nvIndex)),
      );
    // The client's sessions, against a TPM that is not ours: salted for its RSA key and its key on P-384.
    for (const saltKey of [0x8101_0001, 0x8101_0016]) {
      const session = await theirs.startSession({ saltKey });
      const { randomBytes } = await theirs.run(
        "GetRandom",
        {},
        { bytesRequested: 16 },
        { auth: [{ session, encryptResponse: true, audit: true, last: true }] },
      );
      expect(randomBytes.length).toBe(16);
    }
    // The folder of swtpm_localca's authority can be used as it is.
    const shared = await CertificateAuthority.open(join(folder, "theirs-ca"));
    const again = new MemoryStore();
    await setUp(again, { keys: ["p384"], certification: { authority: shared, commonName: "vm2" } });
    const made = await readArea(
      new TpmClient(inProcess(startedHost(again))),
      endorsementKeys.p384.certificateIndex,
    );
    expect(new X509Certificate(made).issuer).toBe("CN=swtpm-localca");
  });
});

/** On two free ports in a row, as tpm2-tss takes the second for granted. Gives the first. */
async function serveOnTwoPorts(host: TpmHost): Promise<number> {
  for (let port = 21_000 + (process.pid % 19_000); ; port += 2) {
    const place = (number: number) => ({ kind: "tcp", port: number, address: "127.0.0.1" }) as const;
    try {
      const service = await SocketService.open({ host, data: place(port), control: place(port + 1) });
      cleanups.push(() => service.close());
      return port;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
    }
  }
}

function startedHost(store: MemoryStore): TpmHost {
  const host = new TpmHost({ store });
  host.start();
  host.startup(0);
  return host;
}
