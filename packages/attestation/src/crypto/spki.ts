import { MalformedError } from "@entresol/wire";
import { EvidenceError } from "../errors.ts";
import { readDer, Tag } from "../x509/der.ts";
import type { CurveName, PublicKey } from "./provider.ts";

const curves: Readonly<Record<string, CurveName>> = {
  "1.2.840.10045.3.1.7": "P-256",
  "1.3.132.0.34": "P-384",
  "1.3.132.0.35": "P-521",
};
const EC = "1.2.840.10045.2.1";
const RSA = "1.2.840.113549.1.1.1";

/** Bits of a number, big-endian. */
export function bitLength(bytes: Uint8Array): number {
  const first = bytes.findIndex((byte) => byte !== 0);
  return first < 0 ? 0 : 8 * (bytes.length - first) - Math.clz32(bytes[first] as number) + 24;
}

/** What kind of key a DER SubjectPublicKeyInfo holds (RFC 5280, 4.1.2.7). Throws `EvidenceError` `unsupported-key`. */
export function readSpki(spki: Uint8Array): PublicKey {
  try {
    return readDer(spki, (reader) => {
      const info = reader.enter(Tag.SEQUENCE);
      const algorithm = info.enter(Tag.SEQUENCE);
      const type = algorithm.identifier();
      const curve = type === EC ? curves[algorithm.identifier()] : undefined;
      if (type === RSA) algorithm.skip(Tag.NULL);
      algorithm.close();
      const key = info.bits();
      info.close();
      if (curve !== undefined) return { type: "ec", curve, bits: undefined };
      if (type !== RSA) throw new EvidenceError("unsupported-key", `a key of type ${type}`);
      const modulus = readDer(key, (inside) => inside.enter(Tag.SEQUENCE).unsigned());
      return { type: "rsa", curve: undefined, bits: bitLength(modulus) };
    });
  } catch (cause) {
    if (!(cause instanceof MalformedError)) throw cause;
    throw new EvidenceError("unsupported-key", "the bytes are no SubjectPublicKeyInfo", { cause });
  }
}
