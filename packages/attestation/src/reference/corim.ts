/*
 * A concise reference integrity manifest (draft-ietf-rats-corim-10) as far as reference values of confidential VMs need it. Numbers are
 * the keys of its maps and the tags of its items.
 */

export const corimSpec = "draft-ietf-rats-corim-10";

export const corimTags = {
  uri: 32,
  uuid: 37,
  time: 1,
  oid: 111,
  unsigned: 501,
  coswid: 505,
  comid: 506,
  cotl: 508,
  svn: 552,
  minimumSvn: 553,
  bytes: 560,
} as const;

export const corimKeys = {
  corim: { id: 0, tags: 1, dependentRims: 2, profile: 3, validity: 4, entities: 5 },
  validity: { notBefore: 0, notAfter: 1 },
  comid: { language: 0, tagIdentity: 1, entities: 2, linkedTags: 3, triples: 4 },
  tagIdentity: { id: 0, version: 1 },
  triples: { reference: 0 },
  environment: { class: 0, instance: 1, group: 2 },
  class: { id: 0, vendor: 1, model: 2, layer: 3, index: 4 },
  measurement: { key: 0, value: 1, authorizedBy: 2 },
  value: { version: 0, svn: 1, digests: 2, name: 11, registers: 14 },
} as const;

/** Hash algorithms by their ids (IANA "Named Information Hash Algorithm Registry"), which may stand as text as well. */
export const digestAlgorithms = { 1: "sha-256", 7: "sha-384", 8: "sha-512" } as const;

export interface CorimDigest {
  /** Name of the algorithm, or its number when that is not known here. */
  readonly algorithm: string | number;
  readonly value: Uint8Array;
}

export interface CorimMeasurement {
  /** What is measured (mkey): text, number, or a UUID or other identifier in hexadecimal. */
  readonly key?: string | number;
  readonly name?: string;
  readonly svn?: { readonly value: number; readonly minimum: boolean };
  readonly digests?: readonly CorimDigest[];
  /** Registers, each with its digests (integrity-registers). */
  readonly registers?: ReadonlyMap<string | number, readonly CorimDigest[]>;
  /** Keys of the value that this reader has no member for. */
  readonly others: readonly (string | number)[];
}

/** Of what the measurements are. */
export interface CorimEnvironment {
  /** Hexadecimal when it is bytes. */
  readonly classId?: string;
  readonly vendor?: string;
  readonly model?: string;
  readonly layer?: number;
  readonly index?: number;
  /** It is of one instance or group, and not of all of the class. */
  readonly narrowed: boolean;
}

export interface CorimReference {
  readonly environment: CorimEnvironment;
  readonly measurements: readonly CorimMeasurement[];
}

/** A concise module identifier. */
export interface Comid {
  /** A UUID is hexadecimal without hyphens. */
  readonly id: string;
  readonly version: number;
  readonly references: readonly CorimReference[];
  /** Kinds of triples other than reference values, which are passed over: they add claims, and never take a demand away. */
  readonly otherTriples: readonly number[];
}

export interface Corim {
  readonly id: string;
  readonly profile: string | undefined;
  /** Milliseconds since 1970, both ends included; undefined where the manifest does not say. */
  readonly validity: { readonly notBefore: number | undefined; readonly notAfter: number } | undefined;
  readonly comids: readonly Comid[];
  /** Tags of parts that are no CoMID. */
  readonly otherTags: readonly number[];
}
