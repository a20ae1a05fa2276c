import {
  type Hash,
  type IgvmFile,
  measureIgvmSnp,
  measureIgvmTdx,
  type PlatformName,
  platformTypes,
  type SnpLoader,
} from "@entresol/igvm";
import { toHex } from "@entresol/wire";
import { isoTime } from "../context.ts";
import { EvidenceError } from "../errors.ts";
import type { PolicyInput } from "../policy/schema.ts";
import type { Corim, CorimDigest, CorimMeasurement, CorimReference } from "./corim.ts";
import { type ComidInput, type CorimInput, writeCorim } from "./write-corim.ts";

/*
 * Reference values: what an image is measured as. They come from a manifest or from a prediction, and go into a policy that names the
 * image. An image fits whole or not at all, so that no register of one passes with those of another.
 */

/** The measurements of each kind of TEE that an image decides, in the policy's terms, by their names in a manifest. */
const registers = {
  snp: { MEASUREMENT: "measurement" },
  tdx: { MRTD: "mrTd", RTMR0: "rtmr0", RTMR1: "rtmr1", RTMR2: "rtmr2", RTMR3: "rtmr3" },
} as const;
/** Vendor and model of the environment (the launch-measurement profile of IGVM files has the same). */
const environments = {
  snp: { vendor: "AMD", model: "SEV-SNP" },
  tdx: { vendor: "Intel", model: "TDX" },
} as const;

export type ReferenceTee = keyof typeof registers;
export type SnpMeasurementName = "measurement";
export type TdxMeasurementName = "mrTd" | "rtmr0" | "rtmr1" | "rtmr2" | "rtmr3";

/** What an image is measured as by one kind of TEE. An image that is launched in several ways has several of them. */
export type ReferenceValue =
  | {
      readonly name: string;
      readonly tee: "snp";
      /** 48 bytes each. */
      readonly measurements: Readonly<Partial<Record<SnpMeasurementName, Uint8Array>>>;
    }
  | {
      readonly name: string;
      readonly tee: "tdx";
      readonly measurements: Readonly<Partial<Record<TdxMeasurementName, Uint8Array>>>;
    };

const SHA384_SIZE = 48;

function bad(message: string): never {
  throw new EvidenceError("bad-input", `the manifest does not hold: ${message}`);
}

/**
 * The reference values for SNP and TDX in a manifest, for a time in milliseconds since 1970. References for other environments are left
 * out. Throws `EvidenceError` `bad-input` for a manifest outside its validity, and for a reference that demands something that could
 * not be compared: to leave that out would take more than its author meant.
 */
export function referenceValuesOf(corim: Corim, at: number): readonly ReferenceValue[] {
  const { validity } = corim;
  if (validity !== undefined) {
    if (at > validity.notAfter) bad(`it ended at ${isoTime(validity.notAfter)}`);
    if (validity.notBefore !== undefined && at < validity.notBefore)
      bad(`it begins at ${isoTime(validity.notBefore)}`);
  }
  return corim.comids.flatMap((comid) =>
    comid.references.flatMap((reference) => valuesOf(comid.id, reference)),
  );
}

function valuesOf(id: string, { environment, measurements }: CorimReference): readonly ReferenceValue[] {
  const { vendor = "", model = "" } = environment;
  const tee = (Object.keys(environments) as ReferenceTee[]).find(
    (name) =>
      environments[name].vendor.toLowerCase() === vendor.toLowerCase() &&
      environments[name].model.toLowerCase() === model.toLowerCase(),
  );
  if (tee === undefined) return [];
  if (environment.narrowed) bad(`${id} is for one instance or group of ${vendor} ${model}`);
  const found: Record<string, Uint8Array> = {};
  const note = (register: string, digests: readonly CorimDigest[]) => {
    const member = memberOf(tee, register) ?? bad(`${id} has "${register}", which ${tee} does not measure`);
    if (Object.hasOwn(found, member)) bad(`${id} has ${register} twice`);
    found[member] = sha384Of(`${id}, ${register}`, digests);
  };
  for (const measurement of measurements) {
    checkMembers(id, measurement);
    const { key, digests, registers: values } = measurement;
    if (digests !== undefined) note(String(key ?? (tee === "snp" ? "MEASUREMENT" : "MRTD")), digests);
    for (const [register, one] of values ?? [])
      note(typeof register === "number" ? `RTMR${register}` : register, one);
  }
  if (Object.keys(found).length === 0) bad(`${id} measures nothing`);
  const names = new Set(measurements.flatMap(({ name }) => name ?? []));
  if (names.size > 1) bad(`${id} has several names: ${[...names].join(", ")}`);
  const [name = id] = names;
  return [{ name, tee, measurements: found } as ReferenceValue];
}

/** The policy's name of a register; letters may be of either size. */
function memberOf(tee: ReferenceTee, register: string): string | undefined {
  const table: Readonly<Record<string, string>> = registers[tee];
  const key = register.toUpperCase();
  return Object.hasOwn(table, key) ? table[key] : undefined;
}

function checkMembers(id: string, { digests, registers: values, svn, others }: CorimMeasurement): void {
  if (svn !== undefined) bad(`${id} demands a security version, which no measurement has`);
  if (others.length > 0) bad(`${id} demands what cannot be compared, ${others.join(", ")}`);
  if (digests === undefined && values === undefined) bad(`${id} has a measurement without a digest`);
}

/** The digest that the hardware has: SHA-384. Others of the same bytes may stand beside it. */
function sha384Of(place: string, digests: readonly CorimDigest[]): Uint8Array {
  const [digest, ...more] = digests.filter(({ algorithm }) => algorithm === "sha-384");
  if (digest === undefined || more.length > 0) bad(`${place} has not one SHA-384`);
  if (digest.value.length !== SHA384_SIZE) bad(`${place} has a SHA-384 of ${digest.value.length} bytes`);
  return digest.value;
}

export interface ReferenceManifest {
  /** Name of the manifest. */
  readonly id: string;
  readonly validity?: CorimInput["validity"];
  readonly values: readonly ReferenceValue[];
}

/** An unsigned manifest of these values, which `referenceValuesOf` reads as the same. */
export function writeReferenceValues({ id, validity, values }: ReferenceManifest): Uint8Array {
  const comids = values.map(
    ({ name, tee, measurements }, i): ComidInput => ({
      id: `${id}/${i}`,
      references: [
        {
          ...environments[tee],
          measurements: Object.entries(registers[tee]).flatMap(([key, member]) => {
            const value = (measurements as Readonly<Record<string, Uint8Array | undefined>>)[member];
            return value === undefined ? [] : [{ key, name, digests: [{ algorithm: "sha-384", value }] }];
          }),
        },
      ],
    }),
  );
  return writeCorim({ id, ...(validity !== undefined && { validity }), comids });
}

/** What an IGVM file is measured as on each platform that it is for. */
export function referenceValuesOfIgvm(
  name: string,
  hash: Hash,
  file: IgvmFile,
  loader?: SnpLoader,
): readonly ReferenceValue[] {
  const isFor = (platform: PlatformName) =>
    file.headers.some(
      (header) => header.type === "supportedPlatform" && header.platform === platformTypes[platform],
    );
  const values: ReferenceValue[] = [];
  if (isFor("snp"))
    values.push({ name, tee: "snp", measurements: { measurement: measureIgvmSnp(hash, file, loader) } });
  if (isFor("tdx")) values.push({ name, tee: "tdx", measurements: { mrTd: measureIgvmTdx(hash, file) } });
  return values;
}

/**
 * The policy with the values of the images that it names (`measurementsFrom`), put where it is held against evidence (`images`). Throws
 * `EvidenceError` `bad-policy` for a name that none of the values has.
 */
export function withReferenceValues(policy: PolicyInput, values: readonly ReferenceValue[]): PolicyInput {
  const snp = resolved("snp", policy.snp, values);
  const tdx = resolved("tdx", policy.tdx, values);
  return {
    ...policy,
    ...(snp !== undefined && { snp }),
    ...(tdx !== undefined && { tdx }),
  } as PolicyInput;
}

interface NamesImages {
  readonly measurementsFrom?: readonly string[] | undefined;
  readonly images?: readonly object[] | undefined;
}

function resolved<Section extends NamesImages>(
  tee: ReferenceTee,
  section: Section | undefined,
  values: readonly ReferenceValue[],
): Section | undefined {
  if (section?.measurementsFrom === undefined) return section;
  const { measurementsFrom, images = [], ...rest } = section;
  const added = measurementsFrom.flatMap((name, i) => {
    const fitting = values.filter((value) => value.tee === tee && value.name === name);
    if (fitting.length === 0)
      throw new EvidenceError(
        "bad-policy",
        `the policy names an image without reference values for ${tee}: /${tee}/measurementsFrom/${i}: "${name}"`,
      );
    return fitting.map((value) => imageOf(value));
  });
  return { ...rest, images: [...images, ...added] } as unknown as Section;
}

function imageOf({ name, measurements }: ReferenceValue): Readonly<Record<string, string>> {
  const entries = Object.entries(measurements as Readonly<Record<string, Uint8Array>>);
  return { name, ...Object.fromEntries(entries.map(([member, value]) => [member, toHex(value)])) };
}
