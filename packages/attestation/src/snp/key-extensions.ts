import { MalformedError } from "@entresol/wire";
import type { Certificate } from "../x509/certificate.ts";
import { DerReader, Tag } from "../x509/der.ts";

/* The extensions of AMD's VCEK and VLEK certificates (VCEK certificate and KDS interface specification 57230, 3.1). */

const ROOT = "1.3.6.1.4.1.3704.1";
const SPEC = "VCEK KDS 57230, 3.1";

/** Components of a TCB version by the extension that holds them. */
const components = {
  bootloader: `${ROOT}.3.1`,
  tee: `${ROOT}.3.2`,
  snp: `${ROOT}.3.3`,
  microcode: `${ROOT}.3.8`,
  fmc: `${ROOT}.3.9`,
} as const;

export type TcbComponent = keyof typeof components;

const STRUCTURE_VERSION = `${ROOT}.1`;
const PRODUCT_NAME = `${ROOT}.2`;
const HARDWARE_ID = `${ROOT}.4`;
const CSP_ID = `${ROOT}.5`;

/** What a VCEK or VLEK says about the key. */
export interface KeyExtensions {
  /** "Milan-B0", "Genoa". */
  readonly productName: string;
  /** The part before the dash. */
  readonly line: string;
  /** `fmc` of Turin alone. */
  readonly tcb: Readonly<Partial<Record<TcbComponent, number>>>;
  /** Of the chip: 64 bytes, 8 on Turin. A VLEK has none. */
  readonly hardwareId: Uint8Array | undefined;
  /** Whose VLEK it is. A VCEK has none. */
  readonly cspId: string | undefined;
}

function wrong(offset: number, message: string): never {
  throw new MalformedError("bad-value", offset, SPEC, message);
}

function number(certificate: Certificate, identifier: string): number | undefined {
  const extension = certificate.extensions.get(identifier);
  if (extension === undefined) return undefined;
  const reader = new DerReader(certificate.der, extension.offset, extension.offset + extension.value.length);
  const value = reader.smallInteger();
  reader.close();
  if (value > 255) wrong(extension.offset, `${identifier} is ${value}, more than a byte`);
  return value;
}

function string(certificate: Certificate, identifier: string): string | undefined {
  const extension = certificate.extensions.get(identifier);
  if (extension === undefined) return undefined;
  const reader = new DerReader(certificate.der, extension.offset, extension.offset + extension.value.length);
  const content = reader.value(reader.peek() === Tag.UTF8_STRING ? Tag.UTF8_STRING : Tag.IA5_STRING);
  reader.close();
  if (content.length === 0 || content.length > 64 || content.some((byte) => byte < 0x20 || byte > 0x7e))
    wrong(extension.offset, `${identifier} is not 1 to 64 printable characters`);
  return String.fromCharCode(...content);
}

/** AMD writes the bytes as they are; an OCTET STRING around them is taken too. */
function hardwareId(certificate: Certificate): Uint8Array | undefined {
  const extension = certificate.extensions.get(HARDWARE_ID);
  if (extension === undefined) return undefined;
  const { value, offset } = extension;
  if (value.length === 8 || value.length === 64) return value;
  if (
    (value.length === 10 || value.length === 66) &&
    value[0] === Tag.OCTET_STRING &&
    value[1] === value.length - 2
  )
    return value.subarray(2);
  return wrong(offset, `hwID has ${value.length} bytes`);
}

/**
 * The extensions of a VCEK or VLEK. Throws `MalformedError` `bad-value` for one that is malformed or missing; the caller judges which TCB
 * components and which of hwID and CSP id the kind of key must have.
 */
export function keyExtensions(certificate: Certificate): KeyExtensions {
  if (number(certificate, STRUCTURE_VERSION) === undefined) wrong(0, "the structure version is missing");
  const productName = string(certificate, PRODUCT_NAME) ?? wrong(0, "the product name is missing");
  const tcb: Partial<Record<TcbComponent, number>> = {};
  for (const name of Object.keys(components) as TcbComponent[]) {
    const value = number(certificate, components[name]);
    if (value !== undefined) tcb[name] = value;
  }
  return {
    productName,
    line: productName.split("-")[0] as string,
    tcb,
    hardwareId: hardwareId(certificate),
    cspId: string(certificate, CSP_ID),
  };
}
