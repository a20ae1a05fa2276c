import { MalformedError } from "@entresol/wire";
import { decodeBase64, encodeBase64 } from "./base64.ts";
import type { ByteRange } from "./finding.ts";
import {
  type JsonObject,
  type JsonString,
  type JsonValue,
  jsonMember,
  jsonOf,
  jsonOptional,
  jsonValue,
  parseStrictJson,
} from "./strict-json.ts";

/*
 * Runtime claims of the paravisor: JSON whose hash is in the hardware report, so that what it names, above all the attestation key of
 * the vTPM, is as good as the report.
 */

const spec = "HCL runtime claims";
const keySpec = `${spec}, keys`;
const jwk = "RFC 7517, RFC 7518 6.3.1";

/** Names of the vTPM's keys: attestation key, endorsement key, and the key that secrets are released to. */
export const HCL_AK = "HCLAkPub";
export const HCL_EK = "HCLEkPub";
export const HCL_TRANSFER_KEY = "HCLTransferKey";

/** An RSA public key as a JWK has it. */
export interface HclKey extends ByteRange {
  readonly kid: string;
  readonly keyOps: readonly string[];
  readonly kty: "RSA";
  /** Modulus, big-endian. */
  readonly n: Uint8Array;
  /** Public exponent, big-endian. */
  readonly e: Uint8Array;
}

export interface HclClaims {
  /** The JSON as it was hashed: a view. */
  readonly bytes: Uint8Array;
  /** By their names, each of which there is once. */
  readonly keys: ReadonlyMap<string, HclKey>;
  /** Configuration of the VM, for example "secure-boot": true. */
  readonly vmConfiguration: Readonly<Record<string, JsonValue>>;
  /** What the guest wanted to be in the claims, by NV index 0x01400002: 64 bytes as a rule. Undefined where there is none. */
  readonly userData: Uint8Array | undefined;
  /** The whole, for what is not named here. */
  readonly json: JsonObject;
}

/** A claims document is a few kilobytes; the report that holds it has no more than 64 KiB. */
const limits = { depth: 16, nodes: 4096 };

function integer(bytes: Uint8Array, node: JsonString, name: string): Uint8Array {
  if (node.value.length !== node.end - node.offset - 2)
    throw new MalformedError("bad-value", node.offset, jwk, `${name} has an escape`);
  const value = decodeBase64(bytes, "base64url", jwk, node.offset + 1, node.end - 1);
  if (value.length === 0) throw new MalformedError("bad-value", node.offset, jwk, `${name} is empty`);
  return value;
}

function readKey(bytes: Uint8Array, object: JsonObject): HclKey {
  const kid = jsonMember(object, "kid", "string", keySpec).value;
  const kty = jsonMember(object, "kty", "string", keySpec);
  if (kty.value !== "RSA")
    throw new MalformedError("bad-value", kty.offset, keySpec, `a key of type ${JSON.stringify(kty.value)}`);
  const ops = jsonOptional(object, "key_ops", "array", keySpec)?.items ?? [];
  return {
    offset: object.offset,
    length: object.end - object.offset,
    kid,
    kty: "RSA",
    keyOps: ops.map((op) => jsonOf(op, "string", keySpec).value),
    n: integer(bytes, jsonMember(object, "n", "string", keySpec), "n"),
    e: integer(bytes, jsonMember(object, "e", "string", keySpec), "e"),
  };
}

function readUserData(node: JsonString | undefined): Uint8Array | undefined {
  if (node === undefined) return undefined;
  const { value } = node;
  if (!/^(?:[\da-f]{2})*$/i.test(value))
    throw new MalformedError("bad-value", node.offset, `${spec}, user-data`, "user-data is not hexadecimal");
  return Uint8Array.from({ length: value.length / 2 }, (_, i) =>
    Number.parseInt(value.slice(2 * i, 2 * i + 2), 16),
  );
}

/**
 * The claims in the bytes from `at` to `end`. Throws MalformedError as strict JSON does, and `bad-value` for a key without a name, of
 * another type than RSA, and for a name that two keys have: which of them is meant would be the reader's choice. Whether the
 * attestation key is among them is for the verifier.
 */
export function parseHclClaims(bytes: Uint8Array, at = 0, end = bytes.length): HclClaims {
  const json = jsonOf(parseStrictJson(bytes, at, end, limits), "object", spec);
  const keys = new Map<string, HclKey>();
  for (const item of jsonMember(json, "keys", "array", keySpec).items) {
    const key = readKey(bytes, jsonOf(item, "object", keySpec));
    if (keys.has(key.kid)) {
      throw new MalformedError(
        "bad-value",
        item.offset,
        keySpec,
        `two keys have the name ${JSON.stringify(key.kid)}`,
      );
    }
    keys.set(key.kid, key);
  }
  const configuration = jsonOptional(json, "vm-configuration", "object", spec);
  return {
    bytes: bytes.subarray(at, end),
    keys,
    vmConfiguration:
      configuration === undefined ? {} : (jsonValue(configuration) as Readonly<Record<string, JsonValue>>),
    userData: readUserData(jsonOptional(json, "user-data", "string", `${spec}, user-data`)),
    json,
  };
}

export interface HclClaimsInput {
  readonly keys: readonly Pick<HclKey, "kid" | "keyOps" | "n" | "e">[];
  readonly vmConfiguration?: Readonly<Record<string, JsonValue>>;
  readonly userData?: Uint8Array;
}

/** Claims as a paravisor writes them. */
export function buildHclClaims({ keys, vmConfiguration = {}, userData }: HclClaimsInput): Uint8Array {
  const text = JSON.stringify({
    keys: keys.map(({ kid, keyOps, n, e }) => ({
      kid,
      key_ops: keyOps,
      kty: "RSA",
      e: encodeBase64(e, "base64url"),
      n: encodeBase64(n, "base64url"),
    })),
    "vm-configuration": vmConfiguration,
    ...(userData === undefined ? {} : { "user-data": toUpperHex(userData) }),
  });
  return new TextEncoder().encode(text);
}

const toUpperHex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).toUpperCase().padStart(2, "0")).join("");
