import { type CborItem, type CborKey, type CborMap, CborTag, writeCbor } from "./cbor-item.ts";
import { type CorimDigest, type CorimMeasurement, corimKeys, corimTags, digestAlgorithms } from "./corim.ts";

export interface CorimReferenceInput {
  readonly vendor: string;
  readonly model: string;
  readonly measurements: readonly Omit<CorimMeasurement, "others">[];
}
export interface ComidInput {
  readonly id: string;
  readonly version?: number;
  readonly references: readonly CorimReferenceInput[];
}
export interface CorimInput {
  readonly id: string;
  /** URI of the profile. */
  readonly profile?: string;
  /** Milliseconds since 1970; whole seconds are written. */
  readonly validity?: { readonly notBefore?: number; readonly notAfter: number };
  readonly comids: readonly ComidInput[];
}

/** A map of what is there: members that are undefined are left out. */
function mapOf(entries: readonly (readonly [CborKey, CborItem])[]): CborMap {
  return new Map(entries.filter(([, item]) => item !== undefined));
}

/** The bytes of an unsigned manifest, in deterministic CBOR. */
export function writeCorim({ id, profile, validity, comids }: CorimInput): Uint8Array {
  const keys = corimKeys.corim;
  const time = (milliseconds: number) => new CborTag(corimTags.time, Math.floor(milliseconds / 1000));
  return writeCbor(
    new CborTag(
      corimTags.unsigned,
      mapOf([
        [keys.id, id],
        [keys.tags, comids.map((comid) => new CborTag(corimTags.comid, writeCbor(comidItem(comid))))],
        [keys.profile, profile === undefined ? undefined : new CborTag(corimTags.uri, profile)],
        [
          keys.validity,
          validity &&
            mapOf([
              [
                corimKeys.validity.notBefore,
                validity.notBefore === undefined ? undefined : time(validity.notBefore),
              ],
              [corimKeys.validity.notAfter, time(validity.notAfter)],
            ]),
        ],
      ]),
    ),
  );
}

function comidItem({ id, version, references }: ComidInput): CborItem {
  const { tagIdentity, triples } = corimKeys.comid;
  return mapOf([
    [
      tagIdentity,
      mapOf([
        [corimKeys.tagIdentity.id, id],
        [corimKeys.tagIdentity.version, version],
      ]),
    ],
    [triples, mapOf([[corimKeys.triples.reference, references.map(referenceItem)]])],
  ]);
}

function referenceItem({ vendor, model, measurements }: CorimReferenceInput): CborItem {
  const environment = mapOf([
    [
      corimKeys.environment.class,
      mapOf([
        [corimKeys.class.vendor, vendor],
        [corimKeys.class.model, model],
      ]),
    ],
  ]);
  return [environment, measurements.map(measurementItem)];
}

function measurementItem({ key, name, svn, digests, registers }: Omit<CorimMeasurement, "others">): CborItem {
  const keys = corimKeys.value;
  return mapOf([
    [corimKeys.measurement.key, key],
    [
      corimKeys.measurement.value,
      mapOf([
        [keys.svn, svn && new CborTag(svn.minimum ? corimTags.minimumSvn : corimTags.svn, svn.value)],
        [keys.digests, digests?.map(digestItem)],
        [keys.name, name],
        [
          keys.registers,
          registers &&
            new Map([...registers].map(([register, values]) => [register, values.map(digestItem)] as const)),
        ],
      ]),
    ],
  ]);
}

function digestItem({ algorithm, value }: CorimDigest): CborItem {
  const number = Object.entries(digestAlgorithms).find(([, name]) => name === algorithm)?.[0];
  return [number === undefined ? algorithm : Number(number), value];
}
