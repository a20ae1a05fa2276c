import { EvidenceError } from "../errors.ts";
import { type SigningKey, tokenAlgorithms, type VerificationKey } from "../token/keys.ts";
import { type CborItem, CborTag, isMap, writeCbor } from "./cbor-item.ts";
import type { CorimItem } from "./corim-item.ts";
import { rootOf } from "./read-corim.ts";

/*
 * A signed manifest: COSE_Sign1 (RFC 9052, 4.2) over the bytes of an unsigned one. Whoever takes it says which key it has to be signed
 * by; the manifest says nothing about keys that is followed.
 */

const COSE_SIGN1 = 18;
const Header = { algorithm: 1, contentType: 3, meta: 8 } as const;
/** Media type of what is signed; drafts before 05 called it otherwise. */
const contentTypes = ["application/rim+cbor", "application/corim-unsigned+cbor"] as const;

const toBeSigned = (header: Uint8Array, payload: Uint8Array): Uint8Array<ArrayBuffer> =>
  new Uint8Array(writeCbor(["Signature1", header, new Uint8Array(), payload]));

/** Signs a manifest for a signer of this name, which is shown and not checked. */
export async function signCorim(
  corim: Uint8Array,
  { algorithm, key }: SigningKey,
  signer: string,
): Promise<Uint8Array> {
  const { cose, web } = tokenAlgorithms[algorithm];
  const meta = writeCbor(new Map<number, CborItem>([[0, new Map<number, CborItem>([[0, signer]])]]));
  const header = writeCbor(
    new Map<number, CborItem>([
      [Header.algorithm, cose],
      [Header.contentType, contentTypes[0]],
      [Header.meta, meta],
    ]),
  );
  const signature = await globalThis.crypto.subtle.sign(web, key, toBeSigned(header, corim));
  return writeCbor(new CborTag(COSE_SIGN1, [header, new Map(), corim, new Uint8Array(signature)]));
}

/** The manifest in a signed one. Throws `EvidenceError` `bad-input` unless it is signed by this key. */
export async function openSignedCorim(
  bytes: Uint8Array,
  { algorithm, key }: VerificationKey,
): Promise<Uint8Array> {
  // A copy: what is given back is what was verified, whatever becomes of the caller's bytes meanwhile.
  const root = rootOf(new Uint8Array(bytes), "");
  const [header, free, payload, signature, ...rest] = root.tagged(COSE_SIGN1).list();
  if (
    header === undefined ||
    free === undefined ||
    payload === undefined ||
    signature === undefined ||
    rest.length > 0
  )
    return root.refuse("this is no COSE_Sign1");
  if (!isMap(free.item)) return free.refuse("there is no map");
  checkHeader(header, algorithm);
  const good = await globalThis.crypto.subtle.verify(
    tokenAlgorithms[algorithm].web,
    key,
    new Uint8Array(signature.bytes()),
    toBeSigned(header.bytes(), payload.bytes()),
  );
  if (!good) throw new EvidenceError("bad-input", "the manifest is not signed by this key");
  return payload.bytes();
}

function checkHeader(header: CorimItem, algorithm: keyof typeof tokenAlgorithms): void {
  const map = rootOf(header.bytes(), header.path);
  if (map.need(Header.algorithm).item !== tokenAlgorithms[algorithm].cose)
    map.refuse(`it is not signed by ${algorithm}`);
  const type = map.get(Header.contentType);
  if (type !== undefined && !contentTypes.some((known) => known === type.item))
    type.refuse(`this is no ${contentTypes[0]}`);
  // A header that has to be understood and is not (RFC 9052, 3.1, crit).
  if (map.get(2) !== undefined) map.refuse("it has headers that have to be understood");
}
