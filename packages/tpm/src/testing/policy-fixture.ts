import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { Alg, Curve, noScheme, noSymmetric, ObjectAttribute, type Public, Rh } from "@entresol/tpm-types";
import { concat, u32 } from "../engine.ts";
import type { TpmClient } from "./client.ts";

/* What tests of policies need around them: something that a policy protects, and an authority that signs. */

const empty: Uint8Array = new Uint8Array(0);
const { fixedTPM, fixedParent, noDA, userWithAuth } = ObjectAttribute;
export const SECRET: Uint8Array = new TextEncoder().encode("the sealed secret");

/** A sealed object that only `authPolicy` opens. */
export function sealed(
  client: TpmClient,
  authPolicy: Uint8Array,
  { nameAlg = Alg.SHA256 as number, userAuth = empty, attributes = noDA as number } = {},
): number {
  const inPublic: Public = {
    type: Alg.KEYEDHASH,
    nameAlg,
    objectAttributes: fixedTPM | fixedParent | attributes,
    authPolicy,
    parameters: { scheme: { scheme: Alg.NULL, hash: Alg.NULL, kdf: Alg.NULL } },
    unique: empty,
  };
  const parameters = {
    inSensitive: { userAuth, data: SECRET },
    inPublic,
    outsideInfo: empty,
    creationPCR: [],
  };
  return client.run("CreatePrimary", { primaryHandle: Rh.OWNER }, parameters).handle;
}

/** The digest of a policy, by a trial session that `assert` is given. */
export function trialDigest(
  client: TpmClient,
  assert: (policySession: number) => unknown,
  hash: number = Alg.SHA256,
): Uint8Array {
  const { handle } = client.session({ kind: "trial", hash });
  assert(handle);
  const { policyDigest } = client.run("PolicyGetDigest", { policySession: handle }, {});
  client.run("FlushContext", {}, { flushHandle: handle });
  return policyDigest;
}

/** A key outside of the TPM. */
export class Authority {
  readonly #privateKey: KeyObject;
  readonly publicArea: Public;

  constructor() {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const { x, y } = publicKey.export({ format: "jwk" });
    const bytes = (text: string | undefined): Uint8Array =>
      new Uint8Array(Buffer.from(text ?? "", "base64url"));
    this.#privateKey = privateKey;
    this.publicArea = {
      type: Alg.ECC,
      nameAlg: Alg.SHA256,
      objectAttributes: ObjectAttribute.sign | userWithAuth,
      authPolicy: empty,
      parameters: {
        symmetric: noSymmetric,
        scheme: noScheme,
        curveID: Curve.NIST_P256,
        kdf: { scheme: Alg.NULL, hash: Alg.NULL },
      },
      unique: { x: bytes(x), y: bytes(y) },
    };
  }

  /** Loads the public key and gives its handle and Name. */
  load(client: TpmClient, hierarchy: number = Rh.OWNER): { handle: number; name: Uint8Array } {
    return client.run("LoadExternal", {}, { inPrivate: undefined, inPublic: this.publicArea, hierarchy });
  }

  /** ECDSA with SHA-256 over the parts. */
  sign(...parts: readonly Uint8Array[]) {
    const signature = sign("sha256", concat(...parts), { key: this.#privateKey, dsaEncoding: "ieee-p1363" });
    const bytes = new Uint8Array(signature);
    return { sigAlg: Alg.ECDSA, hash: Alg.SHA256, r: bytes.slice(0, 32), s: bytes.slice(32) };
  }

  /** What TPM2_PolicySigned wants signed. */
  signPolicy(
    nonceTPM: Uint8Array,
    expiration: number,
    cpHashA: Uint8Array = empty,
    policyRef: Uint8Array = empty,
  ) {
    return this.sign(nonceTPM, u32(expiration), cpHashA, policyRef);
  }
}
