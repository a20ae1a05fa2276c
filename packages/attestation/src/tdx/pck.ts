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
  /** Of platforms with several packages; undefined where the certificate does not say. */
  readonly dynamicPlatform: boolean | undefined;
  readonly cachedKeys: boolean | undefined;
  readonly smtEnabled: boolean | undefined;
}

function wrong(offset: number, message: string): never {
  throw new MalformedError("bad-value", offset, SPEC, message);
}

/** SEQUENCE OF SEQUENCE { id, value } as a map, each id once. */
function pairs(list: DerReader): Map<string, DerReader> {
  const found = new Map<string, DerReader>();
  while (list.more) {
    const at = list.at;
    const pair = list.enter(Tag.SEQUENCE);
    const id = pair.identifier();
    if (found.has(id)) wrong(at, `${id} is there twice`);
    found.set(id, pair);
  }
  return found;
}

function member<T>(map: ReadonlyMap<string, DerReader>, id: string, read: (reader: DerReader) => T): T {
  const reader = map.get(id);
  if (reader === undefined) return wrong(0, `${id} is missing`);
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

function flag(map: ReadonlyMap<string, DerReader> | undefined, id: string): boolean | undefined {
  return map?.has(id) ? member(map, id, (reader) => reader.boolean()) : undefined;
}

/** The SGX extensions. Throws `MalformedError` `bad-value`, also when the 16 components are not CPUSVN's bytes. */
export function pckExtensions(certificate: Certificate): PckExtensions {
  const extension = certificate.extensions.get(ROOT);
  if (extension === undefined) return wrong(0, "the certificate has no SGX extensions");
  const { offset, value } = extension;
  const outer = new DerReader(certificate.der, offset, offset + value.length);
  const all = pairs(outer.enter(Tag.SEQUENCE));
  outer.close();
  const tcb = pairs(member(all, `${ROOT}.2`, (reader) => reader.enter(Tag.SEQUENCE)));
  const components = Uint8Array.from({ length: COMPONENTS }, (_, i) =>
    member(tcb, `${ROOT}.2.${i + 1}`, number(255)),
  );
  const pceSvn = member(tcb, `${ROOT}.2.17`, number(65535));
  const cpuSvn = member(tcb, `${ROOT}.2.18`, octets(16));
  if (components.some((svn, i) => svn !== cpuSvn[i]))
    wrong(offset, "CPUSVN is not made of the TCB components");
  const configuration = all.has(`${ROOT}.7`)
    ? pairs(member(all, `${ROOT}.7`, (reader) => reader.enter(Tag.SEQUENCE)))
    : undefined;
  return {
    components,
    pceSvn,
    pceId: member(all, `${ROOT}.3`, octets(2)),
    fmspc: member(all, `${ROOT}.4`, octets(6)),
    ppid: member(all, `${ROOT}.1`, octets(16)),
    sgxType: member(all, `${ROOT}.5`, (reader) => reader.smallInteger(Tag.ENUMERATED)),
    dynamicPlatform: flag(configuration, `${ROOT}.7.1`),
    cachedKeys: flag(configuration, `${ROOT}.7.2`),
    smtEnabled: flag(configuration, `${ROOT}.7.3`),
  };
}
