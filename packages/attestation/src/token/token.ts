import { decodeBase64, jsonValue, parseStrictJson } from "@entresol/evidence";
import { MalformedError } from "@entresol/wire";
import { CompactSign, compactVerify } from "jose";
import { timeOf } from "../context.ts";
import { EvidenceError } from "../errors.ts";
import type { PolicyInput } from "../policy/schema.ts";
import { type CborItem, CborTag, isMap, readCbor, writeCbor } from "../reference/cbor-item.ts";
import { canonicalJson, type JsonData } from "./canonical-json.ts";
import { type Ear, evaluationOf, policyHash, readEar, sha256Of } from "./ear.ts";
import { decodeEar, encodeEar } from "./ear-cbor.ts";
import { type SigningKey, tokenAlgorithms, type VerificationKey } from "./keys.ts";

/*
 * Tokens: the claims of an EAR as JWT (RFC 7519) over canonical JSON, or as CWT (RFC 8392) over deterministic CBOR. Who verifies says which
 * key it has to be; the key says which algorithm. Nothing that the token says about keys or algorithms is followed.
 */

const utf8 = new TextEncoder();
/** Media types without "application/" (RFC 9782). */
const jwtType = "eat+jwt";
const cwtType = "application/eat+cwt";

/** Labels of COSE headers (RFC 9052, 3.1; RFC 9596). */
const Header = { alg: 1, kid: 4, typ: 16 } as const;
const COSE_SIGN1 = 18;
const CWT = 61;

function bad(message: string, cause?: unknown): never {
  throw new EvidenceError("bad-input", `the token does not hold: ${message}`, { cause });
}

/** The claims in the bytes that are signed in a JWT. */
export const earJson = (ear: Ear): string => canonicalJson(ear as unknown as JsonData);

/** A JWT in compact form. */
export function signEarJwt(ear: Ear, { algorithm, keyId, key }: SigningKey): Promise<string> {
  return new CompactSign(utf8.encode(earJson(ear)))
    .setProtectedHeader({ alg: algorithm, kid: keyId, typ: jwtType })
    .sign(key);
}

/** What is signed of a COSE_Sign1 (RFC 9052, 4.4). */
const toBeSigned = (protectedHeader: Uint8Array, payload: Uint8Array): Uint8Array<ArrayBuffer> =>
  new Uint8Array(writeCbor(["Signature1", protectedHeader, new Uint8Array(0), payload]));

/** A CWT: COSE_Sign1 with its tag. */
export async function signEarCwt(ear: Ear, { algorithm, keyId, key }: SigningKey): Promise<Uint8Array> {
  const { cose, web } = tokenAlgorithms[algorithm];
  const header = writeCbor(
    new Map<number, CborItem>([
      [Header.alg, cose],
      [Header.kid, utf8.encode(keyId)],
      [Header.typ, cwtType],
    ]),
  );
  const payload = encodeEar(ear);
  // WebCrypto gives R || S, as COSE wants it (RFC 9053, 2.1).
  const signature = await globalThis.crypto.subtle.sign(web, key, toBeSigned(header, payload));
  return writeCbor(new CborTag(COSE_SIGN1, [header, new Map(), payload, new Uint8Array(signature)]));
}

export interface EarExpectations {
  /** The time at which the token has to hold. Default: now. */
  readonly at?: Date | number | string;
  /** The nonce that the token has to have. Without it any will do, and none. */
  readonly nonce?: Uint8Array;
  /** The policy that it has to have been judged by. */
  readonly policy?: PolicyInput;
  /** Bytes that have to be among what was judged: a report, a quote, a list. */
  readonly input?: Uint8Array;
}

/** Seconds by which the clock of who signed may be ahead. */
const CLOCK_SKEW = 60;

async function expected(ear: Ear, { at, nonce, policy, input }: EarExpectations): Promise<Ear> {
  const now = timeOf(at) / 1000;
  const when = (seconds: number) => new Date(seconds * 1000).toISOString();
  if (ear.iat > now + CLOCK_SKEW) bad(`it was made at ${when(ear.iat)}, in the future`);
  if (ear.exp !== undefined && now >= ear.exp) bad(`it ran out at ${when(ear.exp)}`);
  if (nonce !== undefined && ear.eat_nonce !== btoa(String.fromCharCode(...nonce)))
    bad(ear.eat_nonce === undefined ? "it has no nonce" : "its nonce is another one");
  const judged = evaluationOf(ear);
  if (policy !== undefined && judged.policy["sha-256"] !== (await policyHash(policy)))
    bad("it was judged by another policy");
  if (input !== undefined) {
    const hash = await sha256Of(input);
    if (!judged.inputs.some((one) => one["sha-256"] === hash))
      bad(`what was judged has no input of SHA-256 ${hash}`);
  }
  return ear;
}

async function readJwt(token: string, { algorithm, keyId, key }: VerificationKey): Promise<Ear> {
  const result = await compactVerify(token, key, { algorithms: [algorithm] }).catch((cause: unknown) =>
    bad(cause instanceof Error ? cause.message : String(cause), cause),
  );
  const { protectedHeader: header, payload } = result;
  // One text for one token: jose takes letters whose last bits say nothing.
  for (const part of token.split(".")) decodeBase64(utf8.encode(part), "base64url", "RFC 7515, 2");
  // JSON.parse, by which jose reads it, takes names that stand there twice.
  parseStrictJson(decodeBase64(utf8.encode(token.slice(0, token.indexOf("."))), "base64url", "RFC 7515, 4"));
  if (header.typ !== jwtType) bad(`it is of type ${String(header.typ)}, not ${jwtType}`);
  if (header.kid !== keyId) bad("it names another key");
  const other = Object.keys(header).find((name) => !["alg", "kid", "typ"].includes(name));
  if (other !== undefined) bad(`its header has "${other}"`);
  const ear = readEar(jsonValue(parseStrictJson(payload)));
  if (earJson(ear) !== new TextDecoder().decode(payload)) bad("its claims are not canonical JSON (RFC 8785)");
  return ear;
}

async function readCwt(token: Uint8Array, { algorithm, keyId, key }: VerificationKey): Promise<Ear> {
  const { cose, web } = tokenAlgorithms[algorithm];
  let item = readCbor(token, { deterministic: true });
  if (item instanceof CborTag && item.tag === CWT) item = item.item;
  if (!(item instanceof CborTag) || item.tag !== COSE_SIGN1) return bad("it is no COSE_Sign1");
  const parts = item.item;
  if (!Array.isArray(parts) || parts.length !== 4) return bad("it is no COSE_Sign1");
  const [protectedHeader, free, payload, signature] = parts as readonly CborItem[];
  if (
    !(
      protectedHeader instanceof Uint8Array &&
      payload instanceof Uint8Array &&
      signature instanceof Uint8Array
    )
  )
    return bad("it is no COSE_Sign1 with its payload");
  if (free === undefined || !isMap(free) || free.size > 0)
    return bad("its header has parts that are not signed");
  const header = readCbor(protectedHeader, { deterministic: true });
  if (!isMap(header) || header.get(Header.alg) !== cose) return bad(`it is not signed by ${algorithm}`);
  const kid = header.get(Header.kid);
  if (!(kid instanceof Uint8Array) || new TextDecoder().decode(kid) !== keyId)
    return bad("it names another key");
  if (header.get(Header.typ) !== cwtType) return bad(`it is not of type ${cwtType}`);
  if (header.size > 3) return bad("its header has parts that are not known");
  const good = await globalThis.crypto.subtle.verify(
    web,
    key,
    new Uint8Array(signature),
    toBeSigned(protectedHeader, payload),
  );
  return good ? decodeEar(payload) : bad("signature verification failed");
}

/**
 * Verifies a token of ours: a JWT (text, or its bytes) or a CWT, by the key that it must be signed by. Throws `EvidenceError` `bad-input` for
 * a token that is none, is signed otherwise, has run out, or is not in the one form in which such tokens are made.
 */
export async function verifyEar(
  token: string | Uint8Array,
  key: VerificationKey,
  expectations: EarExpectations = {},
): Promise<Ear> {
  // A JWT begins with the base64url of "{", a CWT with a tag.
  const isText = typeof token === "string" || token[0] === 0x65;
  try {
    const ear = isText
      ? await readJwt(typeof token === "string" ? token : new TextDecoder().decode(token), key)
      : await readCwt(token, key);
    return await expected(ear, expectations);
  } catch (cause) {
    if (cause instanceof MalformedError) return bad(cause.message, cause);
    throw cause;
  }
}
