import { randomBytes } from "node:crypto";
import { Alg, noSymmetric, type SymmetricDefinition } from "@entresol/tpm-types";
import { authKey, cryptParameter } from "./session-keys.ts";

/** AES-128 in CFB mode: what sessions encrypt parameters with unless they say otherwise. */
export const aes128Cfb: SymmetricDefinition = {
  ...noSymmetric,
  algorithm: Alg.AES,
  keyBits: 128,
  mode: Alg.CFB,
};

export interface SessionOptions {
  /** "hmac" by default. A trial session computes a policy digest and authorizes nothing. */
  readonly kind?: "hmac" | "policy" | "trial";
  /** Hash of the session and of its policy. SHA-256 by default. */
  readonly hash?: number;
  /** For parameter encryption. `aes128Cfb` by default; `noSymmetric`: none. */
  readonly symmetric?: SymmetricDefinition;
  /** An entity whose authValue goes into the session's key. */
  readonly bind?: { readonly handle: number; readonly auth: Uint8Array | string };
  /** Handle of a loaded RSA or ECC decryption key: a salt for its holder only goes into the session's key, which eavesdroppers then cannot compute. */
  readonly saltKey?: number;
}

/** A session that a client has started. Its nonces roll with every command that it goes with, so it serves one command at a time. */
export class TpmSession {
  readonly handle: number;
  readonly kind: "hmac" | "policy" | "trial";
  readonly hash: number;
  readonly symmetric: SymmetricDefinition;
  /** Name that the entity had which the session is bound to. An entity with another Name is not it any more, as an index is not after its first write. */
  readonly boundName: Uint8Array | undefined;
  readonly #key: Uint8Array;
  #nonceCaller: Uint8Array;
  #nonceTpm: Uint8Array;

  /** Of `TpmClient.startSession`. */
  constructor(
    handle: number,
    options: Required<Pick<SessionOptions, "kind" | "hash" | "symmetric">>,
    boundName: Uint8Array | undefined,
    secrets: { readonly key: Uint8Array; readonly nonceCaller: Uint8Array; readonly nonceTpm: Uint8Array },
  ) {
    this.handle = handle;
    this.kind = options.kind;
    this.hash = options.hash;
    this.symmetric = options.symmetric;
    this.boundName = boundName;
    this.#key = secrets.key;
    this.#nonceCaller = secrets.nonceCaller;
    this.#nonceTpm = secrets.nonceTpm;
  }

  get nonceTpm(): Uint8Array {
    return this.#nonceTpm;
  }
  get nonceCaller(): Uint8Array {
    return this.#nonceCaller;
  }

  /** A new nonce for the next command. */
  roll(): void {
    this.#nonceCaller = new Uint8Array(randomBytes(this.#nonceTpm.length));
  }
  /** The TPM's nonce of a response. */
  answered(nonceTpm: Uint8Array): void {
    this.#nonceTpm = nonceTpm;
  }

  /** Key of an HMAC, with the authValue of what is authorized when it counts. */
  hmacKey(authValue: Uint8Array): Uint8Array {
    return Buffer.concat([this.#key, authKey(authValue)]);
  }

  /** En- or decrypts a parameter on its way in (`request`) or out. */
  crypt(authValue: Uint8Array, data: Uint8Array, request: boolean): Uint8Array {
    const [newer, older] = request
      ? [this.#nonceCaller, this.#nonceTpm]
      : [this.#nonceTpm, this.#nonceCaller];
    return cryptParameter(this.hash, this.symmetric, this.hmacKey(authValue), newer, older, data, request);
  }
}
