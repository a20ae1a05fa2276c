import { createCipheriv, createHmac } from "node:crypto";
import { Alg, ObjectAttribute, ofHandle, ofParameter, Rc, Rh } from "@entresol/tpm-types";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { nodeProvider as crypto } from "../crypto/node-provider.ts";
import { TpmClient } from "../testing/client.ts";
import {
  decrypting,
  hmacScheme,
  keyedHash,
  loadKey,
  noKeyedHashScheme,
  rsaKey,
  signing,
  symmetricKey,
  withKey,
} from "../testing/external-keys.ts";

const bytes = (digits: string): Uint8Array => new Uint8Array(Buffer.from(digits.replaceAll(" ", ""), "hex"));
const hex = (value: Uint8Array): string => Buffer.from(value).toString("hex");
const empty = new Uint8Array(0);
const { restricted } = ObjectAttribute;
const client = TpmClient.started();

/** SP 800-38A, appendix F: the four blocks of AES-128. */
const plain = bytes(
  "6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51 30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710",
);
const key128 = bytes("2b7e151628aed2a6abf7158809cf4f3c");
const counting = bytes("000102030405060708090a0b0c0d0e0f");
const publishedModes = [
  [
    Alg.ECB,
    empty,
    "3ad77bb40d7a3660a89ecaf32466ef97 f5d3d58503b9699de785895a96fdbaaf 43b1cd7f598ece23881b00e3ed030688 7b0c785e27e8ad3f8223207104725dd4",
  ],
  [
    Alg.CBC,
    counting,
    "7649abac8119b246cee98e9b12e9197d 5086cb9b507219ee95db113a917678b2 73bed6b8e3c1743b7116e69e22229516 3ff1caa1681fac09120eca307586e1a7",
  ],
  [
    Alg.CFB,
    counting,
    "3b3fd92eb72dad20333449f8e83cfb4a c8a64537a0b3a93fcde3cdad9f1ce58b 26751f67a3cbb140b1808cf187a4f4df c04b05357c5d1c0eeac4c66f9ff7f2e6",
  ],
  [
    Alg.OFB,
    counting,
    "3b3fd92eb72dad20333449f8e83cfb4a 7789508d16918f03f53c52dac54ed825 9740051e9c5fecf64344f7a82260edcc 304c6528f659c77866a510d9c1d6ae5e",
  ],
  [
    Alg.CTR,
    bytes("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"),
    "874d6191b620e3261bef6864990db6ce 9806f66b7970fdff8617187bb9fffdff 5ae4df3edbd5d35e5b4f09020db03eab 1e031dda2fbe03d1792170a0f3009cee",
  ],
] as const;

describe("TPM2_EncryptDecrypt2", () => {
  it.each(publishedModes)(
    "mode 0x%i gives the ciphertext of SP 800-38A, and takes it back",
    (mode, ivIn, text) => {
      withKey(client, symmetricKey(Alg.AES, key128, mode), (keyHandle) => {
        const out = client.run(
          "EncryptDecrypt2",
          { keyHandle },
          { inData: plain, decrypt: false, mode, ivIn },
        );
        expect(hex(out.outData)).toBe(hex(bytes(text)));
        const back = client.run(
          "EncryptDecrypt2",
          { keyHandle },
          { inData: out.outData, decrypt: true, mode: Alg.NULL, ivIn },
        );
        expect(back.outData).toEqual(plain);
        expect(back.ivOut).toEqual(out.ivOut);
        // The older command has the same parameters in another order.
        expect(
          client.run("EncryptDecrypt", { keyHandle }, { decrypt: false, mode, ivIn, inData: plain }),
        ).toEqual(out);
      });
    },
  );

  it.each([
    ["camellia-128-cfb", Alg.CAMELLIA, Alg.CFB, 16],
    ["camellia-192-ctr", Alg.CAMELLIA, Alg.CTR, 24],
    ["camellia-256-cbc", Alg.CAMELLIA, Alg.CBC, 32],
    ["aes-192-ofb", Alg.AES, Alg.OFB, 24],
    ["aes-256-cfb", Alg.AES, Alg.CFB, 32],
  ] as const)("%s is what OpenSSL does", (name, algorithm, mode, size) => {
    const key = crypto.random(size);
    const cipher = createCipheriv(name, key, counting).setAutoPadding(false);
    const expected = Buffer.concat([cipher.update(plain), cipher.final()]);
    withKey(client, symmetricKey(algorithm, key, mode), (keyHandle) => {
      const parameters = { inData: plain, decrypt: false, mode: Alg.NULL, ivIn: counting };
      expect(hex(client.run("EncryptDecrypt2", { keyHandle }, parameters).outData)).toBe(hex(expected));
    });
  });

  it("goes on with the vector that it gave, in every mode and at every block (CVE-2021-3446)", () => {
    const handles = new Map<number, number>();
    const small = TpmClient.started({ limits: { transientObjects: 5 } });
    for (const [mode] of publishedModes)
      handles.set(mode, loadKey(small, symmetricKey(Alg.AES, key128, mode)));
    fc.assert(
      fc.property(
        fc.constantFrom(...publishedModes.map(([mode]) => mode)),
        fc.boolean(),
        fc.uint8Array({ minLength: 16, maxLength: 16 }),
        fc.integer({ min: 0, max: 4 }),
        (mode, decrypt, vector, blocks) => {
          const keyHandle = handles.get(mode)!;
          const ivIn = mode === Alg.ECB ? empty : vector;
          const run = (inData: Uint8Array, iv: Uint8Array) =>
            small.run("EncryptDecrypt2", { keyHandle }, { inData, decrypt, mode, ivIn: iv });
          const whole = run(plain, ivIn);
          const first = run(plain.subarray(0, 16 * blocks), ivIn);
          const second = run(plain.subarray(16 * blocks), first.ivOut);
          expect(hex(first.outData) + hex(second.outData)).toBe(hex(whole.outData));
          expect(second.ivOut).toEqual(whole.ivOut);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("gives the vectors of swtpm after a short last block", () => {
    const key = Uint8Array.from({ length: 16 }, (_, i) => 7 * i + 1);
    const inData = Uint8Array.from({ length: 17 }, (_, i) => (31 * i + 5) & 0xff);
    const ivIn = new Uint8Array(16).fill(0xff);
    for (const [mode, decrypt, vector] of [
      [Alg.OFB, false, "d16ebdfe038a12a37706709606a412d7"],
      [Alg.OFB, true, "d16ebdfe038a12a37706709606a412d7"],
      [Alg.CFB, false, "567c56dbdcb491691a38eb8facea4402"],
      [Alg.CFB, true, "f5add21595b2b591b18d09c467a1353b"],
      [Alg.CTR, false, "00000000000000000000000000000001"],
    ] as const)
      withKey(client, symmetricKey(Alg.AES, key, mode), (keyHandle) => {
        const { ivOut } = client.run("EncryptDecrypt2", { keyHandle }, { inData, decrypt, mode, ivIn });
        expect(hex(ivOut)).toBe(vector);
      });
  });

  it("refuses keys and parameters, each with the code of its place", () => {
    const both = (key: Parameters<typeof withKey>[1], parameters: Partial<Record<string, unknown>>) => {
      const all = { inData: plain, decrypt: false, mode: Alg.NULL, ivIn: counting, ...parameters };
      return withKey(client, key, (keyHandle) => [
        client.rc("EncryptDecrypt", { keyHandle }, all),
        client.rc("EncryptDecrypt2", { keyHandle }, all),
      ]);
    };
    const same = (rc: number) => [rc, rc];
    const cfb = symmetricKey(Alg.AES, key128, Alg.CFB);
    const open = symmetricKey(Alg.AES, key128, Alg.NULL);
    expect(both(keyedHash(key128), {})).toEqual(same(ofHandle(Rc.KEY, 1)));
    expect(both(symmetricKey(Alg.AES, key128, Alg.CFB, decrypting), {})).toEqual(
      same(ofHandle(Rc.ATTRIBUTES, 1)),
    );
    expect(both(symmetricKey(Alg.AES, key128, Alg.CFB, signing), { decrypt: true })).toEqual(
      same(ofHandle(Rc.ATTRIBUTES, 1)),
    );
    expect(both(symmetricKey(Alg.AES, key128, Alg.CMAC, signing), {})).toEqual(same(ofHandle(Rc.MODE, 1)));
    expect(both(cfb, { mode: Alg.CTR })).toEqual([ofParameter(Rc.MODE, 2), ofParameter(Rc.MODE, 3)]);
    expect(both(open, {})).toEqual([ofParameter(Rc.MODE, 2), ofParameter(Rc.MODE, 3)]);
    expect(both(cfb, { ivIn: empty })).toEqual([ofParameter(Rc.SIZE, 3), ofParameter(Rc.SIZE, 4)]);
    expect(both(open, { mode: Alg.ECB })).toEqual([ofParameter(Rc.SIZE, 3), ofParameter(Rc.SIZE, 4)]);
    const odd = plain.subarray(0, 17);
    expect(both(open, { mode: Alg.CBC, inData: odd })).toEqual([
      ofParameter(Rc.SIZE, 4),
      ofParameter(Rc.SIZE, 1),
    ]);
    expect(both(open, { mode: Alg.CTR, inData: odd })).toEqual(same(Rc.SUCCESS));
  });
});

describe("TPM2_Hash", () => {
  const text = new TextEncoder().encode("abc");
  it.each([
    [Alg.SHA1, "a9993e364706816aba3e25717850c26c9cd0d89d"],
    [Alg.SHA256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
    [Alg.SHA3_256, "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"],
  ])("by hash 0x%i gives the published digest of abc", (hashAlg, digest) => {
    const { outHash } = client.run("Hash", {}, { data: text, hashAlg, hierarchy: Rh.NULL });
    expect(hex(outHash)).toBe(digest);
  });

  it("gives a ticket of the hierarchy, none for NULL, and none for what begins like an attestation", () => {
    const ticket = (data: Uint8Array, hierarchy: number) =>
      client.run("Hash", {}, { data, hashAlg: Alg.SHA256, hierarchy }).validation;
    expect(ticket(text, Rh.OWNER)).toMatchObject({ hierarchy: Rh.OWNER });
    expect(ticket(text, Rh.OWNER).digest.length).toBe(64);
    expect(ticket(text, Rh.NULL)).toMatchObject({ hierarchy: Rh.NULL, digest: empty });
    expect(ticket(bytes("ff544347 00"), Rh.OWNER)).toMatchObject({ hierarchy: Rh.NULL, digest: empty });
    expect(ticket(bytes("ff5443"), Rh.OWNER).hierarchy).toBe(Rh.OWNER);
  });
});

describe("TPM2_HMAC", () => {
  it("gives the MAC of the key's hash, and of the caller's where the key has none", () => {
    const key = bytes("4a656665");
    const buffer = new TextEncoder().encode("what do ya want for nothing?");
    for (const [own, wanted, name] of [
      [Alg.NULL, Alg.SHA256, "sha256"],
      [Alg.SHA512, Alg.NULL, "sha512"],
      [Alg.SHA1, Alg.SHA1, "sha1"],
    ] as const)
      withKey(client, keyedHash(key, own === Alg.NULL ? noKeyedHashScheme : hmacScheme(own)), (handle) => {
        const { outHMAC } = client.run("HMAC", { handle }, { buffer, hashAlg: wanted });
        expect(hex(outHMAC)).toBe(createHmac(name, key).update(buffer).digest("hex"));
      });
  });

  it.each([
    [0, "bb1d6929e95937287fa37d129b756746"],
    [16, "070a16b46b4d4144f79bdd9dd04a287c"],
    [40, "dfa66747de9ae63030ca32611497c827"],
    [64, "51f0bebf7e3b9d92fc49741779363cfe"],
  ])("gives the CMAC of RFC 4493 over %i bytes", (length, mac) => {
    withKey(client, symmetricKey(Alg.AES, key128, Alg.CMAC, signing), (handle) => {
      const { outHMAC } = client.run(
        "HMAC",
        { handle },
        { buffer: plain.slice(0, length), hashAlg: Alg.NULL },
      );
      expect(hex(outHMAC)).toBe(mac);
    });
  });

  it("refuses keys and schemes with the codes of swtpm", () => {
    const rc = (key: Parameters<typeof withKey>[1], hashAlg: number) =>
      withKey(client, key, (handle) => [
        client.rc("HMAC", { handle }, { buffer: empty, hashAlg }),
        client.rc("HMAC_Start", { handle }, { auth: empty, hashAlg }),
      ]);
    const same = (code: number) => [code, code];
    const short = crypto.random(20);
    expect(rc(rsaKey(crypto.rsaDerive(2048, 0, 1, crypto.random)), Alg.SHA256)).toEqual(
      same(ofHandle(Rc.TYPE, 1)),
    );
    expect(rc(keyedHash(short), Alg.NULL)).toEqual(same(ofParameter(Rc.VALUE, 2)));
    expect(rc(keyedHash(short, hmacScheme(Alg.SHA256)), Alg.SHA384)).toEqual(same(ofParameter(Rc.VALUE, 2)));
    expect(rc(keyedHash(short), Alg.CMAC)).toEqual(same(ofParameter(Rc.SCHEME, 2)));
    const sealed = ObjectAttribute.userWithAuth;
    expect(rc(keyedHash(short, noKeyedHashScheme, sealed), Alg.SHA256)).toEqual(same(ofHandle(Rc.KEY, 1)));
    expect(rc(symmetricKey(Alg.AES, key128, Alg.CFB), Alg.NULL)).toEqual(same(ofParameter(Rc.SCHEME, 2)));
    expect(rc(symmetricKey(Alg.AES, key128, Alg.CFB), Alg.CMAC)).toEqual(same(ofParameter(Rc.VALUE, 2)));
  });

  it("does not lend a restricted key", () => {
    const { sensitiveDataOrigin, fixedTPM, fixedParent } = ObjectAttribute;
    const { publicArea } = keyedHash(key128, hmacScheme(Alg.SHA256), signing | restricted);
    const objectAttributes = publicArea.objectAttributes | sensitiveDataOrigin | fixedTPM | fixedParent;
    const { handle } = client.run(
      "CreatePrimary",
      { primaryHandle: Rh.NULL },
      {
        inSensitive: { userAuth: empty, data: empty },
        inPublic: { ...publicArea, objectAttributes, unique: empty },
        outsideInfo: empty,
        creationPCR: [],
      },
    );
    const rc = client.rc("HMAC", { handle }, { buffer: empty, hashAlg: Alg.NULL });
    expect(rc).toBe(ofHandle(Rc.ATTRIBUTES, 1));
    client.run("FlushContext", {}, { flushHandle: handle });
  });
});
