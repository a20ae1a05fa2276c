import { MalformedError } from "@entresol/wire";
import type { Certificate } from "../x509/certificate.ts";
import { DerReader, Tag } from "../x509/der.ts";

/* The SGX extensions of a PCK certificate (Intel SGX PCK Certificate and CRL Profile, 1.3.5). */

const ROOT = "1.2.840.113741.1.13.1";
const SPEC = "Intel SGX PCK Certificate and CRL Profile, 1.3.5";
const COMPONENTS = 16;

/** What a PCK certificate says of its platform. */
export interface PckExtensions {
  /** SVNs of the 16 TCB components, 0 to 255. */
  readonly components: Uint8Array;
  readonly pceSvn: number;
  /** 2 bytes, 6 bytes. */
  readonly pceId: Uint8Array;
  readonly fmspc: Uint8Array;
  /** 16 bytes. */
  readonly ppid: Uint8Array;
  /** 0 standard, 1 scalable, 2 scalable with integrity. */
  readonly sgxType: number;
  /** 16 bytes; undefined where the certificate does not say. */
  readonly platformInstanceId: Uint8Array | undefined;
  /** Of platforms with several packages; undefined where the certificate does not say. */
  readonly dynamicPlatform: boolean | undefined;
  readonly cachedKeys: boolean | undefined;
  readonly smtEnabled: boolean | undefined;
}

function wrong(offset: number, message: string): never {
  throw new MalformedError("bad-value", offset, SPEC, message);
}

/** Content of an OBJECT IDENTIFIER: 1.2.840.113741.1.13.1, and .2 and .7 below it. */
const ARC = Uint8Array.of(0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01);
const TCB_ARC = Uint8Array.of(...ARC, 2);
const CONFIGURATION_ARC = Uint8Array.of(...ARC, 7);

/** Values by the number of their identifier. */
type Pairs = ReadonlyMap<number, DerReader>;

/** SEQUENCE OF SEQUENCE { id, value }, each id once. Those that are not right below `arc` are passed over. */
function pairs(list: DerReader, arc: Uint8Array): Pairs {
  const found = new Map<number, DerReader>();
  while (list.more) {
    const at = list.at;
    const pair = list.enter(Tag.SEQUENCE);
    const number = pair.identifierBelow(arc);
    if (number === undefined) continue;
    if (found.has(number)) wrong(at, `${named(arc, number)} is there twice`);
    found.set(number, pair);
  }
  return found;
}

function named(arc: Uint8Array, number: number): string {
  return `${ROOT}.${arc.length > ARC.length ? `${arc[arc.length - 1]}.` : ""}${number}`;
}

function member<T>(map: Pairs, arc: Uint8Array, number: number, read: (reader: DerReader) => T): T {
  const reader = map.get(number);
  if (reader === undefined) return wrong(0, `${named(arc, number)} is missing`);
  const value = read(reader);
  reader.close();
  return value;
}

const octets =
  (size: number) =>
  (reader: DerReader): Uint8Array => {
    const at = reader.at;
    const value = reader.value(Tag.OCTET_STRING);
    return value.length === size ? value : wrong(at, `${value.length} bytes, ${size} are right`);
  };

const number =
  (most: number) =>
  (reader: DerReader): number => {
    const at = reader.at;
    const value = reader.smallInteger();
    return value <= most ? value : wrong(at, `${value}, ${most} is the most`);
  };
const byte = number(255);
const word = number(65535);
const inside = (reader: DerReader): DerReader => reader.enter(Tag.SEQUENCE);

/** 0 standard, 1 scalable, 2 scalable with integrity; another type of protection is not known. */
function sgxType(reader: DerReader): number {
  const at = reader.at;
  const type = reader.smallInteger(Tag.ENUMERATED);
  return type <= 2 ? type : wrong(at, `SGX type ${type} is not known`);
}

function flag(map: Pairs | undefined, number: number): boolean | undefined {
  return map?.has(number) ? member(map, CONFIGURATION_ARC, number, (reader) => reader.boolean()) : undefined;
}

/** The SGX extensions. Throws `MalformedError` `bad-value`, also when the 16 components are not CPUSVN's bytes. */
export function pckExtensions(certificate: Certificate): PckExtensions {
  const extension = certificate.extensions.get(ROOT);
  if (extension === undefined) return wrong(0, "the certificate has no SGX extensions");
  const { offset, value } = extension;
  const outer = new DerReader(certificate.der, offset, offset + value.length);
  const all = pairs(inside(outer), ARC);
  outer.close();
  const tcb = pairs(member(all, ARC, 2, inside), TCB_ARC);
  const components = new Uint8Array(COMPONENTS);
  for (let i = 0; i < COMPONENTS; i++) components[i] = member(tcb, TCB_ARC, i + 1, byte);
  const pceSvn = member(tcb, TCB_ARC, 17, word);
  const cpuSvn = member(tcb, TCB_ARC, 18, octets(16));
  if (components.some((svn, i) => svn !== cpuSvn[i]))
    wrong(offset, "CPUSVN is not made of the TCB components");
  const configuration = all.has(7) ? pairs(member(all, ARC, 7, inside), CONFIGURATION_ARC) : undefined;
  return {
    components,
    pceSvn,
    pceId: member(all, ARC, 3, octets(2)),
    fmspc: member(all, ARC, 4, octets(6)),
    ppid: member(all, ARC, 1, octets(16)),
    sgxType: member(all, ARC, 5, sgxType),
    platformInstanceId: all.has(6) ? member(all, ARC, 6, octets(16)) : undefined,
    dynamicPlatform: flag(configuration, 1),
    cachedKeys: flag(configuration, 2),
    smtEnabled: flag(configuration, 3),
  };
}
