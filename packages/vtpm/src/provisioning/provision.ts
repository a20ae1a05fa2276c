import {
  algorithmName,
  Cap,
  Pt,
  type Public,
  pcrBankHashes,
  Rh,
  responseCodeName,
  TPMT_PUBLIC,
  TpmError,
  TpmWriter,
} from "@entresol/tpm-types";
import { EntresolError } from "@entresol/wire";
import type { TpmClient } from "../client/tpm-client.ts";
import type { CertificateAuthority } from "./certificate-authority.ts";
import { issueEndorsement, issuePlatform, type TpmDescription } from "./certificates.ts";
import {
  type EndorsementKeyName,
  type EndorsementUse,
  endorsementKeys,
  STORAGE_ROOT_HANDLE,
  type StorageRootKind,
  standardUse,
  storageRootTemplate,
  templateFor,
} from "./endorsement-keys.ts";
import { NvArea, writeArea, writeChain } from "./nv-areas.ts";
import { publicKeyOf } from "./public-key.ts";
import type { MakerNames } from "./tcg-extensions.ts";

export type ProvisioningCode =
  /** The TPM answered a command of the provisioning with another code than success. */
  | "refused"
  /** What was provisioned does not read back as it was written. */
  | "not-confirmed";

export class ProvisioningError extends EntresolError<ProvisioningCode> {
  override readonly name = "ProvisioningError";
}

/** What certificates are made of. */
export interface CertificationOptions {
  readonly authority: CertificateAuthority;
  /** Common name of the subject: the virtual machine. */
  readonly commonName: string;
  /** Makes a platform certificate too. */
  readonly platform?: MakerNames;
}

export interface ProvisioningOptions {
  /** The first one is the platform certificate's. */
  readonly keys: readonly EndorsementKeyName[];
  readonly use?: EndorsementUse;
  /** Makes the storage root key. */
  readonly storageRoot?: StorageRootKind;
  readonly certification?: CertificationOptions;
  /** Nobody may write to the indices afterwards. */
  readonly lockNv?: boolean;
  /** Banks that PCRs are kept in from the next reset on; undefined: as they are. */
  readonly pcrBanks?: readonly number[];
  /** Told before each step, and once at the end with `done` = `total`. */
  progress?(step: string, done: number, total: number): void;
}

export interface ProvisionedKey {
  readonly key: EndorsementKeyName;
  readonly handle: number;
  readonly publicArea: Public;
  readonly name: Uint8Array;
  /** Undefined: none was asked for. DER. */
  readonly certificate: Uint8Array | undefined;
}

export interface Provisioned {
  readonly endorsementKeys: readonly ProvisionedKey[];
  readonly platformCertificate: Uint8Array | undefined;
  readonly storageRoot: Uint8Array | undefined;
}

const empty: Uint8Array = new Uint8Array(0);

function marshalled(template: Public): Uint8Array {
  const writer = new TpmWriter();
  TPMT_PUBLIC.write(writer, template);
  return writer.finish();
}

/** Makes a primary key and keeps it at `persistentHandle`. */
async function makePersistent(
  client: TpmClient,
  primaryHandle: number,
  inPublic: Public,
  persistentHandle: number,
): Promise<{ readonly publicArea: Public; readonly name: Uint8Array }> {
  const inSensitive = { userAuth: empty, data: empty };
  const parameters = { inSensitive, inPublic, outsideInfo: empty, creationPCR: [] };
  const { handle, outPublic, name } = await client.run("CreatePrimary", { primaryHandle }, parameters);
  const evict = { auth: Rh.OWNER, objectHandle: handle };
  await client.run("EvictControl", evict, { persistentHandle });
  await client.run("FlushContext", {}, { flushHandle: handle });
  return { publicArea: outPublic, name };
}

/** Who the TPM says that it is, in the form of its certificates (EK Credential Profile 2.5, 3.2.9). */
export async function describeTpm(client: TpmClient): Promise<TpmDescription> {
  const { capabilityData } = await client.run(
    "GetCapability",
    {},
    { capability: Cap.TPM_PROPERTIES, property: Pt.FAMILY_INDICATOR, propertyCount: 32 },
  );
  if (capabilityData.capability !== Cap.TPM_PROPERTIES)
    throw new ProvisioningError("refused", "the TPM does not tell its properties");
  const values = new Map(capabilityData.data.map(({ property, value }) => [property, value]));
  const word = (property: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(values.get(property) ?? 0);
    return bytes;
  };
  const textOf = (...properties: number[]): string =>
    Buffer.concat(properties.map(word)).toString("latin1").replace(/\0+$/, "");
  const identifier = (property: number): string => `id:${word(property).toString("hex").toUpperCase()}`;
  const { VENDOR_STRING_1, VENDOR_STRING_2, VENDOR_STRING_3, VENDOR_STRING_4 } = Pt;
  return {
    manufacturer: identifier(Pt.MANUFACTURER),
    // "SW  " is how clients know a TPM in software, and no part of the model's name.
    model: textOf(VENDOR_STRING_1, VENDOR_STRING_2, VENDOR_STRING_3, VENDOR_STRING_4).replace(/^SW {2}/, ""),
    version: identifier(Pt.FIRMWARE_VERSION_1),
    specification: {
      family: textOf(Pt.FAMILY_INDICATOR),
      level: values.get(Pt.LEVEL) ?? 0,
      revision: values.get(Pt.REVISION) ?? 0,
    },
  };
}

/** Keeps PCRs in `banks` and in no other from the next reset on. */
export async function allocateBanks(client: TpmClient, banks: readonly number[]): Promise<void> {
  const pcrAllocation = pcrBankHashes.map((hash) => ({
    hash,
    pcrSelect: banks.includes(hash) ? Uint8Array.of(0xff, 0xff, 0xff) : Uint8Array.of(0, 0, 0),
  }));
  const { allocationSuccess } = await client.run(
    "PCR_Allocate",
    { authHandle: Rh.PLATFORM },
    { pcrAllocation },
  );
  if (!allocationSuccess) throw new ProvisioningError("refused", "the TPM does not allocate these PCR banks");
}

/** A TPM_RC of a step names the step. */
async function named<T>(step: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof TpmError)) throw error;
    throw new ProvisioningError("refused", `${step}: the TPM answers ${responseCodeName(error.rc)}`, {
      cause: error,
    });
  }
}

/**
 * Gives a TPM that was started and is otherwise new what its maker would: endorsement keys, their certificates, PCR banks. Needs the platform's
 * and the owner's authorization to be empty. Not to be left half done: the caller throws the TPM's state away when this rejects, with
 * `ProvisioningError`, `TpmClientError`, `RangeError` or what signing threw.
 */
export async function provision(client: TpmClient, options: ProvisioningOptions): Promise<Provisioned> {
  const { use = standardUse, certification, lockNv = false, storageRoot, pcrBanks } = options;
  const made: ProvisionedKey[] = [];
  const result: { platform?: Uint8Array; root?: Uint8Array } = {};
  if (certification?.platform !== undefined && options.keys.length === 0)
    throw new RangeError("a platform certificate is of an endorsement key, and none is to be made");
  const steps: { readonly title: string; readonly work: () => Promise<void> }[] = [];

  if (storageRoot !== undefined)
    steps.push({
      title: "storage root key",
      work: async () => {
        const template = storageRootTemplate(storageRoot);
        result.root = (await makePersistent(client, Rh.OWNER, template, STORAGE_ROOT_HANDLE)).name;
      },
    });
  for (const key of options.keys) {
    const definition = endorsementKeys[key];
    steps.push({
      title: `endorsement key ${key}`,
      work: async () => {
        const template = templateFor(definition, use);
        const handle = definition.persistentHandle;
        const { publicArea, name } = await makePersistent(client, Rh.ENDORSEMENT, template, handle);
        // Who looks for another key than the default one finds its template there (EK Credential Profile 2.5, 2.2.1.4).
        if (use.signing) await writeArea(client, definition.templateIndex, marshalled(template), lockNv);
        let certificate: Uint8Array | undefined;
        if (certification !== undefined) {
          certificate = await issueEndorsement(certification.authority.issuer, {
            commonName: certification.commonName,
            publicKey: publicKeyOf(publicArea),
            tpm: await describeTpm(client),
            ...use,
          });
          await writeArea(client, definition.certificateIndex, certificate, lockNv);
        }
        made.push({ key, handle, publicArea, name, certificate });
      },
    });
  }
  if (certification !== undefined) {
    const { authority, commonName, platform } = certification;
    if (platform !== undefined)
      steps.push({
        title: "platform certificate",
        work: async () => {
          const publicKey = publicKeyOf(made[0]!.publicArea);
          const request = { commonName, publicKey, platform, ...use };
          result.platform = await issuePlatform(authority.issuer, request);
          await writeArea(client, NvArea.platformCertificate, result.platform, lockNv);
        },
      });
    steps.push({
      title: "certificate chain",
      work: () => writeChain(client, authority.chain, lockNv),
    });
  }
  if (pcrBanks !== undefined)
    steps.push({
      title: `PCR banks ${pcrBanks.map(algorithmName).join(", ")}`,
      work: () => allocateBanks(client, pcrBanks),
    });

  for (const [done, { title, work }] of steps.entries()) {
    options.progress?.(title, done, steps.length);
    await named(title, work);
  }
  options.progress?.("done", steps.length, steps.length);
  return {
    endorsementKeys: made,
    platformCertificate: result.platform,
    storageRoot: result.root,
  };
}
