import { MalformedError } from "@entresol/wire";
import { EvidenceError } from "../errors.ts";
import { type CborReadOptions, readCbor } from "./cbor-item.ts";
import {
  type Comid,
  type Corim,
  type CorimDigest,
  type CorimEnvironment,
  type CorimMeasurement,
  type CorimReference,
  corimKeys,
  corimTags,
  digestAlgorithms,
} from "./corim.ts";
import { CorimItem } from "./corim-item.ts";

/**
 * Reads an unsigned manifest; a signed one goes through `openSignedCorim` first. Throws `EvidenceError` `bad-input` for bytes that are
 * none. What this reader has no member for is named in `others`, `otherTriples` and `otherTags`.
 */
export function readCorim(bytes: Uint8Array): Corim {
  const map = rootOf(bytes, "").tagged(corimTags.unsigned);
  const keys = corimKeys.corim;
  const tags = map.need(keys.tags).list();
  if (tags.length === 0) map.refuse("it has no tags");
  const comids: Comid[] = [];
  const otherTags: number[] = [];
  for (const tag of tags) {
    if (tag.tag === corimTags.comid) comids.push(comidOf(tag));
    else otherTags.push(tag.tag ?? tag.refuse("a part of the manifest has no tag"));
  }
  return {
    id: map.need(keys.id).identifier(),
    profile: map.get(keys.profile)?.identifier(),
    validity: validityOf(map),
    comids,
    otherTags,
  };
}

/** The item that fills the bytes, in the manifest's terms. */
export function rootOf(bytes: Uint8Array, path: string, options?: CborReadOptions): CorimItem {
  try {
    return new CorimItem(readCbor(bytes, options), path);
  } catch (cause) {
    if (cause instanceof MalformedError)
      throw new EvidenceError("bad-input", `the manifest does not hold at ${path || "/"}: ${cause.message}`, {
        cause,
      });
    throw cause;
  }
}

function validityOf(map: CorimItem): Corim["validity"] {
  const validity = map.get(corimKeys.corim.validity);
  if (validity === undefined) return undefined;
  const timeOf = (item: CorimItem): number => {
    const { item: seconds } = item.tagged(corimTags.time);
    return typeof seconds === "number" && Number.isFinite(seconds)
      ? seconds * 1000
      : item.refuse("this is no time");
  };
  const { notBefore, notAfter } = corimKeys.validity;
  const from = validity.get(notBefore);
  return { notBefore: from && timeOf(from), notAfter: timeOf(validity.need(notAfter)) };
}

function comidOf(tag: CorimItem): Comid {
  const inner = tag.tagged(corimTags.comid);
  const map = rootOf(inner.bytes(), inner.path);
  const identity = map.need(corimKeys.comid.tagIdentity);
  const triples = map.need(corimKeys.comid.triples);
  const otherTriples: number[] = [];
  for (const key of triples.map().keys()) {
    if (typeof key !== "number") return triples.refuse(`triples of the kind "${key}" are not known`);
    if (key !== corimKeys.triples.reference) otherTriples.push(key);
  }
  return {
    id: identity.need(corimKeys.tagIdentity.id).identifier(),
    version: identity.get(corimKeys.tagIdentity.version)?.count() ?? 0,
    references: triples.get(corimKeys.triples.reference)?.list().map(referenceOf) ?? [],
    otherTriples,
  };
}

function referenceOf(triple: CorimItem): CorimReference {
  const [environment, measurements, ...rest] = triple.list();
  if (environment === undefined || measurements === undefined || rest.length > 0)
    return triple.refuse("a reference is not of an environment and measurements");
  return {
    environment: environmentOf(environment),
    measurements: measurements.list().map(measurementOf),
  };
}

function environmentOf(environment: CorimItem): CorimEnvironment {
  const keys = corimKeys.class;
  const map = environment.get(corimKeys.environment.class);
  const classId = map?.get(keys.id)?.identifier();
  const vendor = map?.get(keys.vendor)?.text();
  const model = map?.get(keys.model)?.text();
  const layer = map?.get(keys.layer)?.count();
  const index = map?.get(keys.index)?.count();
  const members: Iterable<unknown> = environment.map().keys();
  return {
    ...(classId !== undefined && { classId }),
    ...(vendor !== undefined && { vendor }),
    ...(model !== undefined && { model }),
    ...(layer !== undefined && { layer }),
    ...(index !== undefined && { index }),
    narrowed: [...members].some((key) => key !== corimKeys.environment.class),
  };
}

function measurementOf(measurement: CorimItem): CorimMeasurement {
  const keys = corimKeys.value;
  const value = measurement.need(corimKeys.measurement.value);
  const key = measurement.get(corimKeys.measurement.key);
  const name = value.get(keys.name)?.text();
  const svn = value.get(keys.svn);
  const digests = value.get(keys.digests);
  const registers = value.get(keys.registers);
  const known: readonly number[] = [keys.svn, keys.digests, keys.name, keys.registers];
  return {
    ...(key !== undefined && { key: typeof key.item === "number" ? key.item : key.identifier() }),
    ...(name !== undefined && { name }),
    ...(svn !== undefined && { svn: svnOf(svn) }),
    ...(digests !== undefined && { digests: digestsOf(digests) }),
    ...(registers !== undefined && { registers: registersOf(registers) }),
    others: [...value.map().keys()].filter((one) => typeof one !== "number" || !known.includes(one)),
  };
}

function svnOf(item: CorimItem): NonNullable<CorimMeasurement["svn"]> {
  if (item.tag === corimTags.minimumSvn)
    return { value: item.tagged(corimTags.minimumSvn).count(), minimum: true };
  return { value: (item.tag === undefined ? item : item.tagged(corimTags.svn)).count(), minimum: false };
}

function digestsOf(list: CorimItem): readonly CorimDigest[] {
  return list.list().map((digest) => {
    const [algorithm, value, ...rest] = digest.list();
    if (algorithm === undefined || value === undefined || rest.length > 0)
      return digest.refuse("a digest is not of an algorithm and a value");
    const { item } = algorithm;
    if (typeof item !== "number" && typeof item !== "string") return algorithm.refuse("this is no algorithm");
    const named = Object.hasOwn(digestAlgorithms, item)
      ? digestAlgorithms[item as keyof typeof digestAlgorithms]
      : item;
    return { algorithm: named, value: value.bytes() };
  });
}

function registersOf(registers: CorimItem): ReadonlyMap<string | number, readonly CorimDigest[]> {
  return new Map(
    [...registers.map()].map(([key, item]) => [
      key,
      digestsOf(new CorimItem(item, `${registers.path}/${key}`)),
    ]),
  );
}
