import { decodeBase64, encodeBase64 } from "@entresol/evidence";
import { MalformedError } from "@entresol/wire";
import { EvidenceError } from "../errors.ts";
import { type TrustCategory, type TrustTier, trustCategories, trustTiers } from "../policy/trust-vector.ts";
import {
  type CborItem,
  type CborKey,
  type CborMap,
  isMap,
  readCbor,
  writeCbor,
} from "../reference/cbor-item.ts";
import { type Ear, type EarAppraisal, readEar } from "./ear.ts";

/* The claims of a token in CBOR: registered claims by their numbers, everything else as in JSON (draft-ietf-rats-ear-04, 3.4). */

const rootKeys = {
  iat: 6,
  exp: 4,
  eat_nonce: 10,
  eat_profile: 265,
  submods: 266,
  ear_status: 1000,
  ear_verifier_id: 1004,
} as const satisfies Readonly<Record<keyof Ear, number>>;
const appraisalKeys = {
  ear_status: 1000,
  ear_trustworthiness_vector: 1001,
  ear_appraisal_policy_ids: 1003,
  ear_attester_claims: 1005,
  ear_verifier_claims: 1006,
} as const satisfies Readonly<Record<keyof EarAppraisal, number>>;
const verifierKeys = { developer: 0, build: 1 } as const;
const vectorKeys = Object.fromEntries(trustCategories.map((name, key) => [name, key])) as Record<
  TrustCategory,
  number
>;

/** An object as a map, each member by its key and through its own writer. */
function mapOf(
  value: object,
  keyOf: (name: string) => CborKey,
  item: (value: unknown, name: string) => CborItem = plain,
): CborMap {
  return new Map(
    Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .map(([name, member]) => [keyOf(name), item(member, name)]),
  );
}

/** Text, whole numbers, flags, lists, and maps of text. */
function plain(value: unknown): CborItem {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === "object" && value !== null) return mapOf(value, (name) => name);
  return value as CborItem;
}

const bytesOfBase64 = (text: string): Uint8Array =>
  decodeBase64(new TextEncoder().encode(text), "base64", "RFC 9711, 4.1");
const by = (keys: Readonly<Record<string, number>>) => (name: string) => keys[name] as number;

function appraisalItem(value: unknown): CborItem {
  return mapOf(value as EarAppraisal, by(appraisalKeys), (member, name) => {
    if (name === "ear_status") return trustTiers[member as TrustTier];
    return name === "ear_trustworthiness_vector" ? mapOf(member as object, by(vectorKeys)) : plain(member);
  });
}

/** The claims as deterministic CBOR (RFC 8949, 4.2.1). */
export function encodeEar(ear: Ear): Uint8Array {
  return writeCbor(
    mapOf(ear, by(rootKeys), (member, name) => {
      switch (name) {
        case "eat_nonce":
          return bytesOfBase64(member as string);
        case "ear_status":
          return trustTiers[member as TrustTier];
        case "ear_verifier_id":
          return mapOf(member as object, by(verifierKeys));
        case "submods":
          return mapOf(member as object, (kind) => kind, appraisalItem);
        default:
          return plain(member);
      }
    }),
  );
}

function refuse(message: string): never {
  throw new EvidenceError("bad-input", `the token's claims cannot be read: ${message}`);
}

/** A map as an object, each key by its name and through its own reader. Keys without a name are refused. */
function objectOf(
  item: CborItem | undefined,
  nameOf: (key: CborKey) => string | undefined,
  value: (item: CborItem, name: string) => unknown = json,
): Record<string, unknown> {
  if (item === undefined || !isMap(item)) return refuse("a map is missing");
  // No prototype: a name such as "__proto__" is one like any other, and is refused by the schema.
  const object: Record<string, unknown> = Object.create(null);
  for (const [key, member] of item) {
    const name = nameOf(key) ?? refuse(`a claim of number ${key} is not known`);
    object[name] = value(member, name);
  }
  return object;
}

const text = (key: CborKey): string | undefined => (typeof key === "string" ? key : undefined);
const named = (keys: Readonly<Record<string, number>>) => (key: CborKey) =>
  Object.keys(keys).find((name) => keys[name] === key);

function json(item: CborItem): unknown {
  if (Array.isArray(item)) return item.map(json);
  return isMap(item) ? objectOf(item, text) : item;
}

const statusOf = named(trustTiers);
const status = (item: CborItem): string =>
  (typeof item === "number" ? statusOf(item) : undefined) ?? refuse("a status that is none");

function appraisalObject(item: CborItem): unknown {
  return objectOf(item, named(appraisalKeys), (member, name) => {
    if (name === "ear_status") return status(member);
    return name === "ear_trustworthiness_vector" ? objectOf(member, named(vectorKeys)) : json(member);
  });
}

/** The claims in deterministic CBOR. Throws `EvidenceError` `bad-input` for anything else. */
export function decodeEar(bytes: Uint8Array): Ear {
  let item: CborItem;
  try {
    item = readCbor(bytes, { deterministic: true });
  } catch (cause) {
    if (!(cause instanceof MalformedError)) throw cause;
    return refuse(cause.message);
  }
  const object = objectOf(item, named(rootKeys), (member, name) => {
    switch (name) {
      case "eat_nonce":
        return member instanceof Uint8Array
          ? encodeBase64(member, "base64")
          : refuse("a nonce that is no bytes");
      case "ear_status":
        return status(member);
      case "ear_verifier_id":
        return objectOf(member, named(verifierKeys));
      case "submods":
        return objectOf(member, text, appraisalObject);
      default:
        return json(member);
    }
  });
  const ear = readEar(object);
  const again = encodeEar(ear);
  const same = again.length === bytes.length && again.every((byte, i) => byte === bytes[i]);
  return same ? ear : refuse("they are not in the one form that they have");
}
