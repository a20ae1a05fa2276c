import { Set as AsnSet, Constructed, Integer, ObjectIdentifier, Sequence, Utf8String } from "asn1js";
import { BasicConstraints, Extension, ExtKeyUsage } from "pkijs";

/* X.509 extensions as certificates of TPMs and platforms have them: RFC 5280, and the object identifiers of the TCG. */

const Oid = {
  subjectDirectoryAttributes: "2.5.29.9",
  subjectKeyIdentifier: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAlternativeName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  authorityKeyIdentifier: "2.5.29.35",
  extendedKeyUsage: "2.5.29.37",
} as const;

/** TCG EK Credential Profile 2.5, clause 4; TCG Platform Certificate Profile 1.1, clause 4. */
export const TcgOid = {
  tpmManufacturer: "2.23.133.2.1",
  tpmModel: "2.23.133.2.2",
  tpmVersion: "2.23.133.2.3",
  tpmSpecification: "2.23.133.2.16",
  platformManufacturer: "2.23.133.5.1.1",
  platformModel: "2.23.133.5.1.4",
  platformVersion: "2.23.133.5.1.5",
  endorsementKeyCertificate: "2.23.133.8.1",
  platformKeyCertificate: "2.23.133.8.2",
} as const;

/** Who made something, as the subject alternative name says it. */
export interface MakerNames {
  readonly manufacturer: string;
  readonly model: string;
  readonly version: string;
}

/** TPMSpecification: family, level, revision (in hundredths). */
export interface TpmSpecification {
  readonly family: string;
  readonly level: number;
  readonly revision: number;
}

/** Bits of KeyUsage (RFC 5280, 4.2.1.3), from the most significant of its first byte. */
const keyUsageBits = {
  digitalSignature: 0x80,
  keyEncipherment: 0x20,
  keyAgreement: 0x08,
  certificateSign: 0x04,
  crlSign: 0x02,
} as const;
export type KeyUsage = keyof typeof keyUsageBits;

/** DER of a named bit list: without its trailing zero bits (X.690, 11.2.2). */
export function keyUsageValue(usages: readonly KeyUsage[]): Uint8Array<ArrayBuffer> {
  const bits = usages.reduce((all, usage) => all | keyUsageBits[usage], 0);
  const unused = bits === 0 ? 0 : 31 - Math.clz32(bits & -bits);
  return Uint8Array.of(0x03, 0x02, unused, bits);
}

function extension(extnID: string, critical: boolean, value: ArrayBuffer): Extension {
  return new Extension({ extnID, critical, extnValue: value });
}

export function keyUsage(usages: readonly KeyUsage[]): Extension {
  return extension(Oid.keyUsage, true, keyUsageValue(usages).buffer);
}

export function basicConstraints(authority: boolean): Extension {
  const value = new BasicConstraints(authority ? { cA: true } : {});
  return extension(Oid.basicConstraints, true, value.toSchema().toBER());
}

export function extendedKeyUsage(purpose: string): Extension {
  const value = new ExtKeyUsage({ keyPurposes: [purpose] });
  return extension(Oid.extendedKeyUsage, false, value.toSchema().toBER());
}

/** A directory name of UTF-8 values, each in a set of its own, as swtpm and the makers of TPMs write it. */
export function makerName(types: readonly (readonly [oid: string, value: string])[]): Extension {
  const name = new Sequence({
    value: types.map(([type, value]) => {
      const pair = [new ObjectIdentifier({ value: type }), new Utf8String({ value })];
      return new AsnSet({ value: [new Sequence({ value: pair })] });
    }),
  });
  // A GeneralName that is a directoryName: [4] EXPLICIT, for a Name is a choice.
  const directoryName = new Constructed({ idBlock: { tagClass: 3, tagNumber: 4 }, value: [name] });
  const value = new Sequence({ value: [directoryName] });
  return extension(Oid.subjectAlternativeName, true, value.toBER());
}

/** Subject directory attributes with one: which specification the TPM was built to (EK Credential Profile, 3.2.11). */
export function tpmSpecification({ family, level, revision }: TpmSpecification): Extension {
  const specification = new Sequence({
    value: [
      new Utf8String({ value: family }),
      new Integer({ value: level }),
      new Integer({ value: revision }),
    ],
  });
  const attribute = new Sequence({
    value: [new ObjectIdentifier({ value: TcgOid.tpmSpecification }), new AsnSet({ value: [specification] })],
  });
  const value = new Sequence({ value: [attribute] });
  return extension(Oid.subjectDirectoryAttributes, false, value.toBER());
}

/** Both name a key by the SHA-1 of its bits (RFC 5280, 4.2.1.2, method 1), 20 bytes. */
export function subjectKeyIdentifier(identifier: Uint8Array): Extension {
  return extension(
    Oid.subjectKeyIdentifier,
    false,
    Uint8Array.of(4, identifier.length, ...identifier).buffer,
  );
}
export function authorityKeyIdentifier(identifier: Uint8Array): Extension {
  const field = [0x80, identifier.length, ...identifier];
  return extension(Oid.authorityKeyIdentifier, false, Uint8Array.of(0x30, field.length, ...field).buffer);
}
