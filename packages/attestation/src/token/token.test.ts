import {
  createHash,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  verify,
  webcrypto,
} from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { decode as cborgDecode, encode as cborgEncode } from "cborg";
import fc from "fast-check";
import { CompactSign, compactVerify, exportJWK } from "jose";
import { describe, expect, test } from "vitest";
import { judge } from "../appraise.ts";
import { type Subtle, webProvider } from "../crypto/web.ts";
import { EvidenceError } from "../errors.ts";
import { verifyHcl } from "../hcl/verify.ts";
import type { PolicyInput } from "../policy/schema.ts";
import { type CborItem, CborTag, writeCbor } from "../reference/cbor-item.ts";
import { verifySnp } from "../snp/verify.ts";
import { verifySvsm } from "../svsm/verify.ts";
import { verifyTdx } from "../tdx/verify.ts";
import { goodNonce, tpmQuote } from "../testing/boot-evidence.ts";
import { paravisor, svsm } from "../testing/paravisor-evidence.ts";
import { certificate, keyPair } from "../testing/pki.ts";
import { platform, platformTime } from "../testing/quote-evidence.ts";
import { chip } from "../testing/snp-evidence.ts";
import { anchorOf } from "../x509/anchor.ts";
import { canonicalJson, differences } from "./canonical-json.ts";
import { appraisalOf, type Ear, earOf, evaluationOf, policyHash, verifierId } from "./ear.ts";
import { encodeEar } from "./ear-cbor.ts";
import { signingKey, tokenAlgorithms, verificationKey } from "./keys.ts";
import { replayEar } from "./replay.ts";
import { earJson, signEarCwt, signEarJwt, verifyEar } from "./token.ts";

const at = platformTime;
const issuedAt = "2026-06-01T12:00:00Z";
const utf8 = new TextEncoder();

const quoted = platform();
const run = (when: Date | string = at, options: Parameters<typeof verifyTdx>[1] = {}) =>
  verifyTdx(quoted, { at: when, roots: quoted.roots, ...options });
const policy: PolicyInput = { name: "a service", tdx: { mrTds: ["44".repeat(48)] } };
const nonce = Uint8Array.from({ length: 32 }, (_, i) => i);
const ear = await earOf(await run(), policy, { issuedAt, nonce });

const pem = (key: KeyObject): string =>
  key.export({ type: key.type === "private" ? "pkcs8" : "spki", format: "pem" }) as string;
const pairs = {
  ES256: generateKeyPairSync("ec", { namedCurve: "P-256" }),
  ES384: generateKeyPairSync("ec", { namedCurve: "P-384" }),
  ES512: generateKeyPairSync("ec", { namedCurve: "P-521" }),
  EdDSA: generateKeyPairSync("ed25519"),
} as const;
const key = await signingKey(pem(pairs.ES256.privateKey));
const publicKey = await verificationKey(pem(pairs.ES256.publicKey));
const later = { at: "2026-06-02T00:00:00Z" };

/** The message of the refusal. */
async function refusal(
  token: string | Uint8Array,
  more: Parameters<typeof verifyEar>[2] = later,
  by = publicKey,
): Promise<string> {
  const error = await verifyEar(token, by, more).then(
    () => undefined,
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(EvidenceError);
  expect(error).toMatchObject({ code: "bad-input" });
  return (error as EvidenceError).message;
}

describe("the claims (draft-ietf-rats-ear-04, 3)", () => {
  test("are those of an EAR, with one appraisal by the kind of evidence", () => {
    expect(ear).toMatchObject({
      eat_profile: "tag:ietf.org,2026:rats/ear#04",
      iat: Date.parse(issuedAt) / 1000,
      ear_verifier_id: verifierId,
      ear_status: "affirming",
      submods: {
        tdx: {
          ear_status: "affirming",
          ear_trustworthiness_vector: { configuration: 2, executables: 3, hardware: 2, "runtime-opaque": 2 },
          ear_attester_claims: { mrTd: "44".repeat(48), fmspc: "00a0b0c0d0e0" },
        },
      },
    });
    expect(ear.eat_nonce).toBe(Buffer.from(nonce).toString("base64"));
  });

  test("name the time judged for, the policy by its hash, every input by its hash, every check and reason", async () => {
    const outcome = await run();
    const said = evaluationOf(ear);
    expect(said).toMatchObject({ at: "2026-06-01T00:00:00.000Z", kind: "tdx", verdict: "accepted" });
    expect(said.policy).toEqual({ name: "a service", "sha-256": await policyHash(policy) });
    expect(appraisalOf(ear).ear_appraisal_policy_ids).toEqual([`urn:sha-256:${said.policy["sha-256"]}`]);
    expect(said.inputs).toEqual(outcome.inputs.map(({ name, sha256 }) => ({ name, "sha-256": sha256 })));
    expect(said.inputs.map(({ name }) => name)).toEqual(
      expect.arrayContaining(["quote", "TCB info", "QE identity", "root CRL", "PCK CRL", "trust root 0"]),
    );
    const sha256 = createHash("sha256").update(quoted.quote).digest("hex");
    expect(said.inputs.find(({ name }) => name === "quote")).toEqual({ name: "quote", "sha-256": sha256 });
    expect(said.checks).toEqual(Object.fromEntries(outcome.checks.map(({ id, result }) => [id, result])));
    expect(said.reasons).toContainEqual({ rule: "/tdx/mrTds", check: "quote.signature", result: "holds" });
    expect(said.trust.executables).toEqual(["/tdx/mrTds"]);
    expect(said.tcb).toMatchObject({ status: "UpToDate", platform: "UpToDate" });
    expect(said.window?.to).toBe("2026-06-19T00:00:00.000Z");
  });

  test("say contraindicated for what is rejected, none for what is not verified, and quote no evidence that a check failed on", async () => {
    const forged = chip({ change: (report) => report.set([1], 0x90) });
    const roots = [anchorOf(forged.certificates[2])];
    const rejected = await earOf(await verifySnp(forged, { at, roots }));
    expect(appraisalOf(rejected)).toMatchObject({
      ear_status: "contraindicated",
      ear_verifier_claims: { verdict: "rejected" },
    });
    expect(appraisalOf(rejected).ear_attester_claims).toBeUndefined();
    const good = chip();
    const unverified = await earOf(await verifySnp(good, { at, roots }), { mayBeSkipped: [] });
    expect(unverified).toMatchObject({ ear_status: "none" });
    expect(appraisalOf(unverified).ear_attester_claims).toMatchObject({
      measurement: "cd".repeat(48),
      vmpl: 0,
      product: "Genoa",
    });
    const refused = await earOf(await verifySnp(good, { at, roots }), { snp: { vmpls: [3] } });
    expect(refused.ear_status).toBe("contraindicated");
  });

  test("of a paravisor or an SVSM quote its hardware report and its TPM", async () => {
    for (const hardware of ["snp", "tdx"] as const) {
      const made = paravisor({ hardware });
      const said = appraisalOf(
        await earOf(await verifyHcl(made, { at, roots: made.roots })),
      ).ear_attester_claims;
      expect(said?.[hardware === "snp" ? "measurement" : "mrTd"]).toMatch(/^(cd|44){48}$/);
      expect(said?.["tpmNonce"]).toBe(Buffer.from(goodNonce).toString("hex"));
      expect(said?.["pcr.sha256.23"]).toBe("00".repeat(32));
    }
    const made = svsm();
    const outcome = await verifySvsm({ ...made, tpmQuote: tpmQuote() }, { at, roots: made.roots });
    const said = appraisalOf(await earOf(outcome)).ear_attester_claims;
    expect(said).toMatchObject({
      measurement: "cd".repeat(48),
      tpmNonce: Buffer.from(goodNonce).toString("hex"),
    });
  });

  test("of evidence that nobody could read are claims all the same", async () => {
    const unread = await earOf(await verifySnp({ report: new Uint8Array(3) }, { at }), {}, { issuedAt });
    expect(evaluationOf(await verifyEar(await signEarCwt(unread, key), publicKey, later)).verdict).toBe(
      "rejected",
    );
  });

  test("name the build of this package", () => {
    const manifest = JSON.parse(readFileSync(join(import.meta.dirname, "../../package.json"), "utf8"));
    expect(verifierId.build).toBe(`${manifest.name} ${manifest.version}`);
  });

  test("take a nonce of 8 to 64 bytes, and a time that is one", async () => {
    const outcome = await run();
    for (const length of [8, 64])
      expect(await earOf(outcome, {}, { nonce: new Uint8Array(length) })).toBeDefined();
    for (const length of [7, 65])
      await expect(earOf(outcome, {}, { nonce: new Uint8Array(length) })).rejects.toMatchObject({
        code: "bad-argument",
      });
    await expect(earOf(outcome, {}, { issuedAt: "yesterday" })).rejects.toMatchObject({
      code: "bad-argument",
    });
  });
});

describe.each(Object.keys(tokenAlgorithms) as (keyof typeof pairs)[])("%s", (algorithm) => {
  test("signs JWT and CWT that verify, and that another key does not", async () => {
    const own = await signingKey(pem(pairs[algorithm].privateKey));
    const its = await verificationKey(pem(pairs[algorithm].publicKey));
    const others = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const other = await verificationKey(pem(others.publicKey));
    for (const token of [await signEarJwt(ear, own), await signEarCwt(ear, own)]) {
      expect(await verifyEar(token, its, { ...later, nonce })).toEqual(ear);
      await refusal(token, later, other);
    }
    expect(own.keyId).toBe(its.keyId);
  });
});

describe("a JWT", () => {
  test("is one that other libraries verify", async () => {
    const token = await signEarJwt(ear, key);
    const { payload, protectedHeader } = await compactVerify(token, pairs.ES256.publicKey);
    expect(protectedHeader).toEqual({ alg: "ES256", kid: key.keyId, typ: "eat+jwt" });
    expect(JSON.parse(new TextDecoder().decode(payload))).toEqual(ear);
  });

  test("is taken as bytes too", async () => {
    expect(await verifyEar(utf8.encode(await signEarJwt(ear, key)), publicKey, later)).toEqual(ear);
  });

  test("with a name twice in its header is refused, although its key signed it", async () => {
    const text = `{"alg":"none","alg":"ES256","kid":"${key.keyId}","typ":"eat+jwt"}`;
    const signed = [text, earJson(ear)].map((part) => Buffer.from(part).toString("base64url")).join(".");
    const { web } = tokenAlgorithms.ES256;
    const signature = await globalThis.crypto.subtle.sign(web, key.key, utf8.encode(signed));
    const token = `${signed}.${Buffer.from(signature).toString("base64url")}`;
    await expect(verifyEar(token, publicKey, later)).rejects.toThrow('"alg" stands there twice');
  });

  const made = (header: object, payload: string) =>
    new CompactSign(utf8.encode(payload))
      .setProtectedHeader({ alg: "ES256", kid: key.keyId, typ: "eat+jwt", ...header })
      .sign(key.key);

  test.each([
    ["another type", { typ: "JWT" }, earJson(ear), "it is of type JWT"],
    ["another key's name", { kid: "other" }, earJson(ear), "it names another key"],
    ["a key of its own", { jwk: {} }, earJson(ear), 'its header has "jwk"'],
    ["space between the claims", {}, JSON.stringify(ear, null, 1), "not canonical JSON"],
    [
      "members in another order",
      {},
      JSON.stringify(Object.fromEntries(Object.entries(ear).reverse())),
      "not canonical JSON",
    ],
    ["a claim twice", {}, earJson(ear).replace('"iat":', '"iat":1,"iat":'), "RFC 7493"],
    ["a claim that is not known", {}, earJson({ ...ear, sub: "x" } as Ear), 'Unrecognized key: "sub"'],
    ["another profile", {}, earJson(ear).replace("#04", "#05"), "/eat_profile"],
    [
      "two appraisals",
      {},
      earJson({ ...ear, submods: { ...ear.submods, snp: appraisalOf(ear) } }),
      "/submods",
    ],
    ["a time in fractions", {}, earJson({ ...ear, iat: 1.5 }), "/iat"],
  ])("with %s is refused", async (_what, header, payload, message) => {
    expect(await refusal(await made(header, payload))).toContain(message);
  });

  test("without a signature is refused, whatever its header says", async () => {
    const [, payload] = (await signEarJwt(ear, key)).split(".");
    const header = Buffer.from(JSON.stringify({ alg: "none", kid: key.keyId, typ: "eat+jwt" })).toString(
      "base64url",
    );
    await refusal(`${header}.${payload}.`);
  });

  test("with bits in its base64url that say nothing is refused", async () => {
    const token = await signEarJwt(ear, key);
    const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const last = letters.indexOf(token.at(-1) as string);
    // 64 bytes of signature leave four bits of the last letter over.
    expect(last % 16).toBe(0);
    expect(await refusal(`${token.slice(0, -1)}${letters[last + 1]}`)).toContain("RFC 7515");
    await refusal(`${token}=`);
  });

  test("that is signed by the public key as a secret is refused", async () => {
    const secret = utf8.encode(pem(pairs.ES256.publicKey));
    const token = await new CompactSign(utf8.encode(earJson(ear)))
      .setProtectedHeader({ alg: "HS256", kid: key.keyId, typ: "eat+jwt" })
      .sign(secret);
    await refusal(token);
  });
});

describe("a CWT", () => {
  test("is a COSE_Sign1 that another CBOR library reads and OpenSSL verifies", async () => {
    const token = await signEarCwt(ear, key);
    const tags = { 18: (item: () => unknown) => item() } as never;
    const [header, free, payload, signature] = cborgDecode(token, { tags, useMaps: true }) as [
      Uint8Array,
      Map<unknown, unknown>,
      Uint8Array,
      Uint8Array,
    ];
    expect(free.size).toBe(0);
    expect(cborgDecode(header, { useMaps: true })).toEqual(
      new Map<number, unknown>([
        [1, -7],
        [4, utf8.encode(key.keyId)],
        [16, "application/eat+cwt"],
      ]),
    );
    const claims = cborgDecode(payload, { useMaps: true }) as Map<number, unknown>;
    expect(claims.get(265)).toBe(ear.eat_profile);
    expect(claims.get(6)).toBe(ear.iat);
    expect(claims.get(10)).toEqual(nonce);
    expect(claims.get(1000)).toBe(2);
    expect(claims.get(1004)).toEqual(
      new Map([
        [0, verifierId.developer],
        [1, verifierId.build],
      ]),
    );
    const one = (claims.get(266) as Map<string, Map<number, unknown>>).get("tdx");
    expect(one?.get(1001)).toEqual(
      new Map([
        [1, 2],
        [2, 3],
        [4, 2],
        [5, 2],
      ]),
    );
    expect(cborgEncode(claims)).toEqual(payload);
    const signed = cborgEncode(["Signature1", header, new Uint8Array(0), payload]);
    const openssl = { key: createPublicKey(pem(pairs.ES256.publicKey)), dsaEncoding: "ieee-p1363" } as const;
    expect(verify("sha256", signed, openssl, signature)).toBe(true);
  });

  test("may stand within the tag of a CWT", async () => {
    const token = await signEarCwt(ear, key);
    expect(await verifyEar(Uint8Array.of(0xd8, 61, ...token), publicKey, later)).toEqual(ear);
  });

  const sign1 = async (header: CborItem, free: CborItem, payload: Uint8Array): Promise<Uint8Array> => {
    const head = writeCbor(header);
    const signed = new Uint8Array(writeCbor(["Signature1", head, new Uint8Array(0), payload]));
    const signature = await webcrypto.subtle.sign(
      tokenAlgorithms.ES256.web,
      key.key as webcrypto.CryptoKey,
      signed,
    );
    return writeCbor(new CborTag(18, [head, free, payload, new Uint8Array(signature)]));
  };
  const header = (...more: readonly (readonly [number, CborItem])[]) =>
    new Map<number, CborItem>([[1, -7], [4, utf8.encode(key.keyId)], [16, "application/eat+cwt"], ...more]);
  const payload = encodeEar(ear);
  const claims = (...more: readonly (readonly [number | string, CborItem])[]) => {
    const map = cborgDecode(payload, { useMaps: true }) as Map<number | string, CborItem>;
    for (const [name, value] of more) map.set(name, value);
    return writeCbor(map);
  };

  test.each([
    ["another algorithm", header([1, -35]), new Map(), payload, "not signed by ES256"],
    ["another key's name", header([4, utf8.encode("other")]), new Map(), payload, "names another key"],
    ["another type", header([16, "application/cwt"]), new Map(), payload, "not of type"],
    ["a header that is not known", header([2, [99]]), new Map(), payload, "not known"],
    ["a header that is not signed", header(), new Map([[4, utf8.encode("x")]]), payload, "not signed"],
    ["a claim of another number", header(), new Map(), claims([7, 1]), "a claim of number 7 is not known"],
    ["a status that is none", header(), new Map(), claims([1000, 3]), "a status that is none"],
    ["a registered claim by its name", header(), new Map(), claims(["iat", 1]), "not known"],
    ["a claim that is undefined", header(), new Map(), claims([4, undefined]), "not in the one form"],
    ["a payload with bytes behind it", header(), new Map(), Uint8Array.of(...payload, 0), "RFC 8949"],
  ] as const)("with %s is refused", async (_what, head, free, body, message) => {
    expect(await refusal(await sign1(head as CborItem, free as CborItem, body))).toContain(message);
  });
});

test("a CWT of another build is refused: no tag, another one, parts too many, a payload that is elsewhere", async () => {
  const token = await signEarCwt(ear, key);
  const parts = cborgDecode(token.subarray(1), { useMaps: true }) as CborItem[];
  expect(writeCbor(new CborTag(18, parts))).toEqual(token);
  const [head, free, payload, signature] = parts as [CborItem, CborItem, CborItem, CborItem];
  const others: readonly CborItem[] = [
    parts,
    new CborTag(17, parts),
    new CborTag(61, new CborTag(61, new CborTag(18, parts))),
    new CborTag(18, [...parts, signature]),
    new CborTag(18, parts.slice(0, 3)),
    new CborTag(18, new Map([["x", 1]])),
    new CborTag(18, [head, free, null, signature]),
    new CborTag(18, [head, null, payload, signature]),
    new CborTag(18, ["x", free, payload, signature]),
    new CborTag(18, [head, free, payload, "x"]),
  ];
  for (const other of others) await refusal(writeCbor(other));
});

describe("a token", () => {
  test("does not hold from when it runs out, and before it was made", async () => {
    const short = await earOf(await run(), policy, { issuedAt, lifetime: 300 });
    const token = await signEarJwt(short, key);
    const seconds = (after: number) => ({ at: Date.parse(issuedAt) + after * 1000 });
    expect(await verifyEar(token, publicKey, seconds(299))).toEqual(short);
    expect(await refusal(token, seconds(300))).toContain("ran out");
    expect(await verifyEar(token, publicKey, seconds(-60))).toEqual(short);
    expect(await refusal(token, seconds(-61))).toContain("in the future");
  });

  test("with another nonce than that which was sent, or without one, is refused", async () => {
    const without = await signEarCwt(await earOf(await run(), policy, { issuedAt }), key);
    expect(await refusal(without, { ...later, nonce })).toContain("has no nonce");
    expect(await refusal(await signEarCwt(ear, key), { ...later, nonce: nonce.slice(1) })).toContain(
      "another one",
    );
  });

  test("by another policy, or of other inputs, than those that are expected is refused", async () => {
    const token = await signEarCwt(ear, key);
    expect(await verifyEar(token, publicKey, { ...later, policy, input: quoted.quote })).toEqual(ear);
    expect(await refusal(token, { ...later, policy: {} })).toContain("another policy");
    expect(await refusal(token, { ...later, input: quoted.quote.slice(1) })).toContain("has no input");
  });

  test("of which any byte is changed, or cut off, is refused", async () => {
    const jwt = utf8.encode(await signEarJwt(ear, key));
    const cwt = await signEarCwt(ear, key);
    await fc.assert(
      fc.asyncProperty(
        fc.boolean(),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        fc.boolean(),
        async (text, where, change, cut) => {
          const token = text ? jwt : cwt;
          const i = where % token.length;
          const bad = cut ? token.slice(0, i) : token.with(i, (token[i] as number) ^ change);
          await refusal(bad);
        },
      ),
      { numRuns: 150 },
    );
  });

  test("made of any bytes is refused and nothing else happens", async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.string()), async (token) => {
        await refusal(token);
      }),
      { numRuns: 150 },
    );
  });
});

describe("keys", () => {
  test("are taken as PEM or JWK, public ones from certificates and from private keys too", async () => {
    const { privateKey, publicKey: open } = pairs.ES384;
    const jwk = JSON.stringify(await exportJWK(privateKey));
    const pair = keyPair("P-384", "token");
    const issued = certificate({ subject: "a verifier", key: pair });
    const issuedPem = `-----BEGIN CERTIFICATE-----\n${Buffer.from(issued).toString("base64")}\n-----END CERTIFICATE-----\n`;
    const ids = [
      await signingKey(pem(privateKey)),
      await signingKey(jwk),
      await verificationKey(pem(open)),
      await verificationKey(pem(privateKey)),
      await verificationKey(jwk),
    ];
    expect(new Set(ids.map(({ keyId }) => keyId)).size).toBe(1);
    expect((await verificationKey(issuedPem)).keyId).toBe((await signingKey(pem(pair.privateKey))).keyId);
    const { key: made } = await verificationKey(jwk);
    expect(made.type).toBe("public");
  });

  test.each([
    ["a public key to sign with", pem(pairs.ES256.publicKey), "no private part"],
    [
      "an RSA key",
      pem(generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey),
      "1.2.840.113549.1.1.1",
    ],
    [
      "a key of SEC1",
      pairs.ES256.privateKey.export({ type: "sec1", format: "pem" }) as string,
      "openssl pkcs8 -topk8",
    ],
    ["a secret", '{"kty":"oct","k":"AAAA"}', "oct"],
    ["JSON that is no key", "{", "cannot be read"],
    ["other text", "a key", "cannot be read"],
    ["PEM of something else", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "no key among"],
  ])("%s is refused", async (_what, text, message) => {
    await expect(signingKey(text)).rejects.toMatchObject({
      code: "unsupported-key",
      message: expect.stringContaining(message),
    });
  });
});

describe("a replay", () => {
  test("of the same inputs gives the same claims to the byte, from a token of either form and by other cryptography", async () => {
    const jwt = await verifyEar(await signEarJwt(ear, key), publicKey, later);
    const cwt = await verifyEar(await signEarCwt(ear, key), publicKey, later);
    const crypto = webProvider(webcrypto.subtle as unknown as Subtle);
    for (const read of [jwt, cwt])
      expect(await replayEar(read, (when) => run(when, crypto && { crypto }), policy)).toMatchObject({
        same: true,
        differences: [],
      });
    const short = await earOf(await run(), policy, { issuedAt, lifetime: 300 });
    const { same, again } = await replayEar(short, run, policy);
    expect(same).toBe(true);
    expect(encodeEar(again)).toEqual(encodeEar(short));
  });

  test("names what is not as it was: another quote, another policy, another root, another time", async () => {
    const other = platform({ td: { mrTd: new Uint8Array(48).fill(0x44), xfam: 7n } });
    const quote = await replayEar(ear, (when) => verifyTdx(other, { at: when, roots: other.roots }), policy);
    expect(quote.same).toBe(false);
    expect(quote.differences.join("\n")).toContain("/submods/tdx/ear_verifier_claims/inputs/0/sha-256");
    const looser = await replayEar(ear, run, { tdx: {} });
    expect(looser.differences.join("\n")).toContain("/ear_verifier_claims/policy/sha-256");
    const root = await replayEar(
      ear,
      (when) => run(when, { roots: [...quoted.roots, anchorOf(chip().certificates[2])] }),
      policy,
    );
    expect(root.same).toBe(false);
    const time = await replayEar(ear, () => run("2026-06-01T00:00:01Z"), policy);
    expect(time.differences.join("\n")).toContain("/ear_verifier_claims/at");
  });
});

describe("canonical JSON (RFC 8785)", () => {
  test("sorts members by UTF-16 units, and prints numbers and text as ECMAScript does", () => {
    expect(canonicalJson({ "\u20ac": 1, "\r": 2, "1": 3, "\ud83d\ude00": 4, "\u0080": 5, "\ufb33": 6 })).toBe(
      '{"\\r":2,"1":3,"\u0080":5,"\u20ac":1,"\ud83d\ude00":4,"\ufb33":6}',
    );
    expect(canonicalJson([1 / 3, 1e30, 4.5, 2e-3, -0, null, true, '\u000f\n"\\/'])).toBe(
      '[0.3333333333333333,1e+30,4.5,0.002,0,null,true,"\\u000f\\n\\"\\\\/"]',
    );
    expect(canonicalJson({ a: undefined, b: [] })).toBe('{"b":[]}');
  });
  test("refuses what JSON cannot carry", () => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, "\ud800"])
      expect(() => canonicalJson(value)).toThrow(EvidenceError);
  });
  test("differences are named by their pointers", () => {
    expect(differences({ a: [1, { b: 2 }], c: "x" }, { a: [1, { b: 3 }], d: 1 })).toEqual([
      "/a/1/b: 2, now 3",
      '/c: "x", now absent',
      "/d: absent, now 1",
    ]);
    expect(differences([1, 2, 3], [4, 5, 6], 2)).toEqual(["/0: 1, now 4", "/1: 2, now 5"]);
    expect(differences([1], { 0: 1 })).toEqual([': [1], now {"0":1}']);
  });
});

test("a policy's hash is that of its meaning, not of its text", async () => {
  const one = await policyHash({ snp: { hostData: ["AB".repeat(32)], vmpls: [0] } });
  expect(await policyHash({ version: 1, snp: { vmpls: [0], hostData: ["ab".repeat(32)] } })).toBe(one);
  expect(await policyHash({ snp: { vmpls: [1], hostData: ["ab".repeat(32)] } })).not.toBe(one);
  const decision = judge(await run(), policy);
  expect(await policyHash(decision.policy)).toBe(evaluationOf(ear).policy["sha-256"]);
});
