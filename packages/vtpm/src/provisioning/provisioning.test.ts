import { createHash, generateKeyPairSync, webcrypto, X509Certificate } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tpm } from "@entresol/tpm";
import {
  Alg,
  commands,
  Rc,
  Rh,
  Su,
  TPMS_NV_PUBLIC,
  TPMT_PUBLIC,
  type TpmError,
  TpmReader,
  TpmWriter,
} from "@entresol/tpm-types";
import fc from "fast-check";
import { Certificate, CryptoEngine } from "pkijs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TpmClient } from "../client/tpm-client.ts";
import { inProcess } from "../client/transport.ts";
import { MemoryStore } from "../state-store.ts";
import { CertificateAuthority } from "./certificate-authority.ts";
import { issueAuthority } from "./certificates.ts";
import { confirm } from "./confirmation.ts";
import { endorsementKeys } from "./endorsement-keys.ts";
import { NvArea, readArea } from "./nv-areas.ts";
import type { Provisioned, ProvisioningOptions } from "./provision.ts";
import { reconfigure, setUp } from "./setup.ts";

const folder = mkdtempSync(join(tmpdir(), "entresol-provisioning-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let folders = 0;
const place = (): string => join(folder, `ca${folders++}`);

const rejection = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );
const sha = (name: string, ...parts: readonly Uint8Array[]) => {
  const state = createHash(name);
  for (const part of parts) state.update(part);
  return state.digest();
};
const u32 = (value: number) => Buffer.from([value >>> 24, value >>> 16, value >>> 8, value]);

async function started(permanent?: Uint8Array): Promise<TpmClient> {
  const client = new TpmClient(inProcess(new Tpm(permanent === undefined ? {} : { permanent })));
  await client.run("Startup", {}, { startupType: Su.CLEAR });
  return client;
}

describe("the templates of endorsement keys", () => {
  /** PolicyA, and PolicyB = PolicyOR(PolicyA, PolicyC), PolicyC = PolicyAuthorizeNV of the index that B.6.4 of the profile gives. */
  const policies = (hash: string, alg: number, nvIndex: number) => {
    const size = sha(hash).length;
    const zeros = Buffer.alloc(size);
    const inner = sha(hash, zeros, u32(commands.PolicySecret.code), u32(Rh.ENDORSEMENT));
    const policyA = sha(hash, inner);
    const writer = new TpmWriter();
    const attributes = 0x220f_1008;
    TPMS_NV_PUBLIC.write(writer, {
      nvIndex,
      nameAlg: alg,
      attributes,
      authPolicy: policyA,
      dataSize: 2 + size,
    });
    const name = Buffer.concat([Buffer.from([alg >> 8, alg]), sha(hash, writer.finish())]);
    const policyC = sha(hash, zeros, u32(commands.PolicyAuthorizeNV.code), name);
    return { policyA, policyB: sha(hash, zeros, u32(commands.PolicyOR.code), policyA, policyC) };
  };

  it("have the policies that follow from the profile's definitions", () => {
    const sha256 = policies("sha256", Alg.SHA256, 0x01c0_7f01);
    const sha384 = policies("sha384", Alg.SHA384, 0x01c0_7f02);
    const { rsa2048, p256, p384, rsa3072 } = endorsementKeys;
    expect(rsa2048.publicArea.authPolicy).toEqual(new Uint8Array(sha256.policyA));
    expect(p256.publicArea.authPolicy).toEqual(new Uint8Array(sha256.policyA));
    expect(p384.publicArea.authPolicy).toEqual(new Uint8Array(sha384.policyB));
    expect(rsa3072.publicArea.authPolicy).toEqual(new Uint8Array(sha384.policyB));
  });

  it("keep their low range's attributes and zeros, and their high range's userWithAuth and empty unique", () => {
    const rows = Object.values(endorsementKeys).map(({ publicArea }) => [
      publicArea.objectAttributes,
      publicArea.type === Alg.RSA ? publicArea.unique.length : publicArea.unique.x.length,
      publicArea.parameters.symmetric.keyBits,
    ]);
    expect(rows).toEqual([
      [0x300b2, 256, 128],
      [0x300b2, 32, 128],
      [0x300f2, 0, 256],
      [0x300f2, 0, 256],
    ]);
  });
});

describe("a TPM that was set up", () => {
  const store = new MemoryStore();
  const steps: string[] = [];
  let authority: CertificateAuthority;
  let options: ProvisioningOptions;
  let made: Provisioned;
  let client: TpmClient;

  beforeAll(async () => {
    authority = await CertificateAuthority.open(place());
    options = {
      keys: ["rsa2048", "p256", "p384"],
      storageRoot: "p384",
      certification: {
        authority,
        commonName: "vm 1",
        platform: { manufacturer: "Maker", model: "Model", version: "1.2" },
      },
      lockNv: true,
      pcrBanks: [Alg.SHA256, Alg.SHA384],
      progress: (step, done, total) => steps.push(`${done}/${total} ${step}`),
    };
    made = await setUp(store, options);
    client = await started(store.load());
  });

  it("has the keys at their handles, and makes the same again from the template", async () => {
    for (const { key, handle, name } of made.endorsementKeys) {
      expect((await client.run("ReadPublic", { objectHandle: handle }, {})).name).toEqual(name);
      const primary = await client.run(
        "CreatePrimary",
        { primaryHandle: Rh.ENDORSEMENT },
        {
          inSensitive: { userAuth: new Uint8Array(0), data: new Uint8Array(0) },
          inPublic: endorsementKeys[key].publicArea,
          outsideInfo: new Uint8Array(0),
          creationPCR: [],
        },
      );
      expect(primary.name).toEqual(name);
      await client.run("FlushContext", {}, { flushHandle: primary.handle });
    }
  });

  it("has certificates in locked NV indices with swtpm_setup's attributes, which the chain beside them verifies", async () => {
    const chain = await readArea(client, NvArea.certificateChain);
    const issuer = new X509Certificate(chain);
    const root = new X509Certificate(chain.subarray(issuer.raw.length));
    expect(root.raw.equals(authority.root.raw)).toBe(true);
    expect(issuer.verify(root.publicKey)).toBe(true);
    const indices = [
      ...made.endorsementKeys.map(({ key }) => endorsementKeys[key].certificateIndex),
      NvArea.platformCertificate,
    ];
    for (const nvIndex of indices) {
      const { nvPublic } = await client.run("NV_ReadPublic", { nvIndex }, {});
      expect(nvPublic.attributes).toBe(0x6207_2801);
      const certificate = new X509Certificate(await readArea(client, nvIndex));
      expect(certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)).toBe(true);
      expect(certificate.subject).toBe("CN=vm 1");
      // Another reader of X.509 sees the same.
      const other = Certificate.fromBER(new Uint8Array(certificate.raw));
      const otherIssuer = Certificate.fromBER(new Uint8Array(issuer.raw));
      expect(await other.verify(otherIssuer, new CryptoEngine({ name: "node", crypto: webcrypto }))).toBe(
        true,
      );
      expect(Buffer.from(other.serialNumber.valueBlock.valueHexView).toString("hex").toUpperCase()).toBe(
        certificate.serialNumber,
      );
      const write = client.run(
        "NV_Write",
        { authHandle: Rh.PLATFORM, nvIndex },
        { data: new Uint8Array(1), offset: 0 },
      );
      expect(((await rejection(write)) as TpmError).rc).toBe(Rc.NV_LOCKED);
    }
  });

  it("keeps PCRs in the banks that were asked for and no other", async () => {
    await expect(confirm(client, options, made)).resolves.toBeUndefined();
    const others = { ...options, pcrBanks: [Alg.SHA256] };
    expect(await rejection(confirm(client, others, made))).toMatchObject({ code: "not-confirmed" });
  });

  it("was told about step by step", () => {
    expect(steps).toEqual([
      "0/7 storage root key",
      "1/7 endorsement key rsa2048",
      "2/7 endorsement key p256",
      "3/7 endorsement key p384",
      "4/7 platform certificate",
      "5/7 certificate chain",
      "6/7 PCR banks SHA256, SHA384",
      "7/7 done",
    ]);
  });

  it("opens a credential that was made for the key in its certificate", async () => {
    const { name } = await client.run("ReadPublic", { objectHandle: 0x8100_0001 }, {});
    const { publicArea } = made.endorsementKeys[0]!;
    const external = { inPrivate: undefined, inPublic: publicArea };
    const loaded = await client.run("LoadExternal", {}, { ...external, hierarchy: Rh.NULL });
    const credential = new TextEncoder().encode("activation secret");
    const blob = await client.run(
      "MakeCredential",
      { handle: loaded.handle },
      { credential, objectName: name },
    );
    const session = await client.startSession({ kind: "policy" });
    const secret = {
      nonceTPM: new Uint8Array(0),
      cpHashA: new Uint8Array(0),
      policyRef: new Uint8Array(0),
      expiration: 0,
    };
    await client.run("PolicySecret", { authHandle: Rh.ENDORSEMENT, policySession: session.handle }, secret);
    const { certInfo } = await client.run(
      "ActivateCredential",
      { activateHandle: 0x8100_0001, keyHandle: 0x8101_0001 },
      { credentialBlob: blob.credentialBlob, secret: blob.secret },
      { auth: ["", session] },
    );
    expect(certInfo).toEqual(credential);
  });

  it("gets other PCR banks by reconfigure, and keeps all else", async () => {
    const other = new MemoryStore();
    other.commit(store.load()!);
    await reconfigure(other, other.load()!, [Alg.SHA512]);
    const after = await started(other.load());
    await expect(confirm(after, { ...options, pcrBanks: [Alg.SHA512] }, made)).resolves.toBeUndefined();
  });

  it("is stored whole in one commit, or not at all", async () => {
    class Failing extends MemoryStore {
      commits = 0;
      override commit(permanent: Uint8Array): void {
        this.commits++;
        super.commit(permanent);
      }
    }
    const failing = new Failing();
    const broken = { ...options, pcrBanks: [Alg.SHA3_256] };
    expect(await rejection(setUp(failing, broken))).toMatchObject({ code: "refused" });
    expect(failing.commits).toBe(0);
    expect(failing.load()).toBeUndefined();
    expect(await rejection(setUp(failing, { ...options, keys: [] }))).toBeInstanceOf(RangeError);
  });
});

describe("certificates of endorsement keys", () => {
  it("say how the key is used, also for one that signs", async () => {
    const authority = await CertificateAuthority.open(place());
    const store = new MemoryStore();
    const { endorsementKeys: keys } = await setUp(store, {
      keys: ["p256"],
      use: { signing: true, decryption: false },
      certification: { authority, commonName: "signer" },
    });
    const certificate = Buffer.from(keys[0]!.certificate!);
    // KeyUsage: critical, digitalSignature alone.
    expect(certificate.includes(Buffer.from("0603551d0f0101ff040403020780", "hex"))).toBe(true);
    const client = await started(store.load());
    const { outPublic } = await client.run("ReadPublic", { objectHandle: 0x8101_000a }, {});
    expect(outPublic.objectAttributes).toBe(0x400b2);
    const template = TPMT_PUBLIC.read(new TpmReader(await readArea(client, 0x01c0_000c)));
    expect(template).toEqual({ ...outPublic, unique: { x: new Uint8Array(32), y: new Uint8Array(32) } });
  });
});

describe("CertificateAuthority", () => {
  it("is made once, with keys that only its owner can read, and opened as it is from then on", async () => {
    const path = place();
    const first = await CertificateAuthority.open(path);
    const second = await CertificateAuthority.open(path);
    expect(second.issuer.certificate.raw.equals(first.issuer.certificate.raw)).toBe(true);
    expect(first.root.subject).toBe("CN=entresol-vtpm local root CA");
    for (const name of ["signkey.pem", "swtpm-localca-rootca-privkey.pem"])
      expect(statSync(join(path, name)).mode & 0o777).toBe(0o600);
  });

  it("is one and the same for all who make it at once, and leaves nothing beside it", async () => {
    const path = join(place(), "below");
    const all = await Promise.all([1, 2, 3, 4].map(() => CertificateAuthority.open(path)));
    expect(new Set(all.map(({ root }) => root.fingerprint256)).size).toBe(1);
    expect(readdirSync(join(path, ".."))).toEqual(["below"]);
  });

  it("signs without its root's key, which can be kept elsewhere", async () => {
    const path = place();
    await CertificateAuthority.open(path);
    rmSync(join(path, "swtpm-localca-rootca-privkey.pem"));
    expect((await CertificateAuthority.open(path)).chain.length).toBe(2);
  });

  const tampering: readonly (readonly [string, string, (path: string, other: string) => unknown])[] = [
    ["a missing certificate", "incomplete", (path) => rmSync(join(path, "issuercert.pem"))],
    ["a missing key", "incomplete", (path) => rmSync(join(path, "signkey.pem"))],
    ["a missing root", "incomplete", (path) => rmSync(join(path, "swtpm-localca-rootca-cert.pem"))],
    ["a key that others can read", "exposed-key", (path) => chmodSync(join(path, "signkey.pem"), 0o604)],
    [
      "a root key that others can read",
      "exposed-key",
      (path) => chmodSync(join(path, "swtpm-localca-rootca-privkey.pem"), 0o604),
    ],
    ["files that others can put others in the place of", "exposed-key", (path) => chmodSync(path, 0o777)],
    ["files that a group can change", "exposed-key", (path) => chmodSync(path, 0o770)],
    ["a file that is no key", "malformed", (path) => writeFileSync(join(path, "signkey.pem"), "no key")],
    [
      "a file that is no certificate",
      "malformed",
      (path) => writeFileSync(join(path, "issuercert.pem"), "-"),
    ],
    [
      "the key of another authority",
      "key-mismatch",
      (path, other) => copyFileSync(join(other, "signkey.pem"), join(path, "signkey.pem")),
    ],
    [
      "the root of another authority",
      "not-issued-by-root",
      (path, other) =>
        copyFileSync(
          join(other, "swtpm-localca-rootca-cert.pem"),
          join(path, "swtpm-localca-rootca-cert.pem"),
        ),
    ],
  ];
  it.each(tampering)("refuses a folder with %s", async (_, code, tamper) => {
    const [path, other] = [place(), place()];
    await CertificateAuthority.open(path);
    await CertificateAuthority.open(other);
    tamper(path, other);
    expect(await rejection(CertificateAuthority.open(path))).toMatchObject({
      name: "CertificateAuthorityError",
      code,
    });
  });

  it("refuses a signing certificate that is no authority's, and a key that is too weak", async () => {
    const path = place();
    const { issuer } = await CertificateAuthority.open(path);
    const weak = generateKeyPairSync("rsa", { modulusLength: 1024 });
    writeFileSync(join(path, "signkey.pem"), weak.privateKey.export({ type: "pkcs8", format: "pem" }));
    expect(await rejection(CertificateAuthority.open(path))).toMatchObject({ code: "malformed" });
    expect(
      await rejection(
        issueAuthority({ privateKey: weak.privateKey, certificate: issuer.certificate }, "x", weak.publicKey),
      ),
    ).toBeInstanceOf(RangeError);
    const leafAuthority = place();
    const made = await CertificateAuthority.open(leafAuthority);
    const store = new MemoryStore();
    await setUp(store, { keys: ["p256"], certification: { authority: made, commonName: "leaf" } });
    const leaf = await readArea(await started(store.load()), endorsementKeys.p256.certificateIndex);
    writeFileSync(join(leafAuthority, "swtpm-localca-rootca-cert.pem"), new X509Certificate(leaf).toString());
    expect(await rejection(CertificateAuthority.open(leafAuthority))).toMatchObject({
      code: "not-an-authority",
    });
  });

  it("refuses any file of it that was altered, or signs as before", async () => {
    const path = place();
    const { root } = await CertificateAuthority.open(path);
    const names = ["signkey.pem", "issuercert.pem", "swtpm-localca-rootca-cert.pem"];
    const good = names.map((name) => readFileSync(join(path, name)));
    await fc.assert(
      fc.asyncProperty(fc.nat(2), fc.nat(), fc.integer({ min: 1, max: 255 }), async (which, at, change) => {
        const [label = "", ...lines] = good[which]!.toString().trim().split("\n");
        const der = Buffer.from(lines.slice(0, -1).join(""), "base64");
        der[at % der.length]! ^= change;
        const pem = `${label}\n${der.toString("base64").replace(/.{64}/g, "$&\n")}\n${lines.at(-1)}\n`;
        writeFileSync(join(path, names[which]!), pem);
        const error = await rejection(CertificateAuthority.open(path));
        if (error === undefined) expect((await CertificateAuthority.open(path)).root.raw).toEqual(root.raw);
        else expect(error).toMatchObject({ name: "CertificateAuthorityError" });
        writeFileSync(join(path, names[which]!), good[which]!);
      }),
      { numRuns: 60 },
    );
  });

  it("is not made in a folder that holds something else", async () => {
    const path = place();
    mkdirSync(path);
    writeFileSync(join(path, "letter.txt"), "dear");
    expect(await rejection(CertificateAuthority.open(path))).toMatchObject({ code: "incomplete" });
    expect(readdirSync(path)).toEqual(["letter.txt"]);
    expect(readFileSync(join(path, "letter.txt"), "utf8")).toBe("dear");
  });
});
