import { snpPlatformInfoBits, snpPolicyBits, tdAttributeBits } from "@entresol/evidence";
import * as z from "zod";

/* The sections of a policy, member by member: what each may be, what it means, and what holds where it is left out. */

const hexOf = (bytes: number) =>
  z
    .string()
    .regex(new RegExp(`^[0-9a-fA-F]{${2 * bytes}}$`), `${bytes} bytes of hexadecimal`)
    .transform((text) => text.toLowerCase());
/** A digest of any bank: what has another length could never be found, and would refuse nothing. */
const digest = z
  .string()
  .regex(
    /^([0-9a-fA-F]{40}|[0-9a-fA-F]{64}|[0-9a-fA-F]{96}|[0-9a-fA-F]{128})$/,
    "20, 32, 48 or 64 bytes of hexadecimal",
  )
  .transform((text) => text.toLowerCase());
/** Any of these values; left out: any at all. */
const oneOf = (bytes: number) => z.array(hexOf(bytes)).min(1).optional();
/** What a flag must be. */
const flag = z.enum(["required", "forbidden", "any"]);
/** A bit of a table of the evidence, with what it says there. */
const bitOf =
  (bits: readonly { readonly name: string; readonly what: string }[]) =>
  (name: string, wanted: "forbidden" | "any" = "any") =>
    flag.default(wanted).describe(`${name}: ${bits.find((bit) => bit.name === name)?.what ?? ""}`);
const guestBit = bitOf(snpPolicyBits);
const platformBit = bitOf(snpPlatformInfoBits);
const tdBit = bitOf(tdAttributeBits);
const svn = z.number().int().min(0).max(255);

const snpTcb = z
  .strictObject({ fmc: svn, bootloader: svn, tee: svn, snp: svn, microcode: svn })
  .partial()
  .describe("lowest security patch levels; a component that is left out may be any");
const snpTcbs = z
  .strictObject({ current: snpTcb, reported: snpTcb, committed: snpTcb, launch: snpTcb })
  .partial();
const line = z.enum(["Milan", "Genoa", "Turin"]);

/** What an image is measured as; it has to fit whole, so that no register of one image passes with another's. */
const imageOf = <const Names extends string>(...names: readonly Names[]) => {
  const image = z
    .strictObject({
      name: z.string().min(1),
      ...(Object.fromEntries(names.map((name) => [name, hexOf(48).optional()])) as Record<
        Names,
        z.ZodOptional<ReturnType<typeof hexOf>>
      >),
    })
    .refine((one) => names.some((name) => name in one), "an image without any measurement")
    .meta({ anyOf: names.map((name) => ({ required: [name] })) });
  return z.array(image).min(1).optional().describe("images, one of which must have been launched");
};
const measurementsFrom = z
  .array(z.string().min(1))
  .min(1)
  .optional()
  .describe("names of images, whose reference values have to be put in before anything is accepted");

/** What is demanded of SNP reports, also of those that other evidence carries. */
export const snp = z
  .strictObject({
    products: z.array(line).min(1).optional().describe("product lines, by the chain of the signing key"),
    chips: oneOf(64).describe("CHIP_IDs"),
    signingKeys: z
      .array(z.enum(["vcek", "vlek"]))
      .min(1)
      .default(["vcek", "vlek"])
      .describe("keys of the chip, or of a cloud provider"),
    cspIds: z
      .array(z.string().min(1))
      .min(1)
      .optional()
      .describe("cloud providers whose VLEK is taken; a VCEK has none"),
    minimumTcb: snpTcbs.default({}).describe("for every product"),
    minimumTcbOf: z.partialRecord(line, snpTcbs).default({}).describe("for one product, besides"),
    provisionalFirmware: z
      .enum(["allowed", "refused"])
      .default("allowed")
      .describe("current TCB above committed TCB: firmware that can still be taken back"),
    guestPolicy: z
      .strictObject({
        debug: guestBit("DEBUG", "forbidden"),
        migrationAgent: guestBit("MIGRATE_MA", "forbidden"),
        smt: guestBit("SMT"),
        singleSocket: guestBit("SINGLE_SOCKET"),
        cxl: guestBit("CXL_ALLOW"),
        aes256Xts: guestBit("MEM_AES_256_XTS"),
        raplDisabled: guestBit("RAPL_DIS"),
        ciphertextHiding: guestBit("CIPHERTEXT_HIDING"),
        pageSwapDisabled: guestBit("PAGE_SWAP_DISABLE"),
        unknownBits: z
          .enum(["allowed", "refused"])
          .default("allowed")
          .describe("bits that no table here names"),
        minimumAbi: z
          .string()
          .regex(/^\d{1,3}\.\d{1,3}$/, "major.minor")
          .optional()
          .describe("lowest firmware ABI that the guest's policy may demand"),
      })
      .prefault({}),
    platform: z
      .strictObject({
        smt: platformBit("SMT_EN"),
        tsme: platformBit("TSME_EN"),
        ecc: platformBit("ECC_EN"),
        raplDisabled: platformBit("RAPL_DIS"),
        ciphertextHiding: platformBit("CIPHERTEXT_HIDING_DRAM_EN"),
        aliasCheckComplete: platformBit("ALIAS_CHECK_COMPLETE"),
        iommuWriteSafe: platformBit("IOMMU_WRITE_SAFE"),
        trustedIo: platformBit("TIO_EN"),
        unknownBits: z
          .enum(["allowed", "refused"])
          .default("allowed")
          .describe("bits that no table here names"),
      })
      .prefault({}),
    requiredMitigations: hexOf(8)
      .optional()
      .describe("bits of the current and launch mitigation vectors, most significant byte first"),
    vmpls: z
      .array(z.number().int().min(0).max(0xffff_ffff))
      .min(1)
      .optional()
      .describe("privilege levels that may have asked for the report"),
    minimumGuestSvn: z
      .number()
      .int()
      .min(0)
      .max(0xffff_ffff)
      .optional()
      .describe("GUEST_SVN of the ID block"),
    measurements: oneOf(48).describe("launch digests"),
    images: imageOf("measurement"),
    measurementsFrom,
    hostData: oneOf(32).describe("HOST_DATA, given by the host at launch"),
    reportData: oneOf(64).describe("what the guest had signed"),
    familyIds: oneOf(16).describe("FAMILY_ID of the ID block"),
    imageIds: oneOf(16).describe("IMAGE_ID of the ID block"),
    idKeyDigests: oneOf(48).describe("SHA-384 of keys that sign ID blocks"),
    authorKeyDigests: oneOf(48).describe("SHA-384 of keys that sign such keys"),
  })
  .prefault({});

const status = z.enum([
  "UpToDate",
  "SWHardeningNeeded",
  "ConfigurationNeeded",
  "ConfigurationAndSWHardeningNeeded",
  "OutOfDate",
  "OutOfDateConfigurationNeeded",
  "TDRelaunchAdvised",
  "TDRelaunchAdvisedConfigurationNeeded",
]);

/** What TDX and SGX have in common. */
const quoteRules = {
  tcbStatuses: z.array(status).min(1).default(["UpToDate"]).describe("accepted TCB statuses"),
  graceDays: z
    .number()
    .min(0)
    .max(3650)
    .default(0)
    .describe(
      "what is OutOfDate counts as UpToDate, and OutOfDateConfigurationNeeded as ConfigurationNeeded, until so many days after the date of its level",
    ),
  refusedAdvisories: z
    .array(
      z
        .string()
        .regex(/^[A-Za-z]+(-[A-Za-z0-9]+)+$/, "an advisory, such as INTEL-SA-00837")
        .transform((text) => text.toUpperCase()),
    )
    .default([])
    .describe("advisories that refuse, whatever the status"),
  minimumEvaluationDataNumber: z
    .number()
    .int()
    .min(0)
    .optional()
    .describe("lowest tcbEvaluationDataNumber, of TCB info and of the QE identity"),
  fmspcs: oneOf(6).describe("families, models, steppings, and customizations of the platform"),
  reportData: oneOf(64).describe("what the guest had signed"),
  dynamicPlatform: flag.default("any").describe("packages may be added to the platform"),
  cachedKeys: flag.default("any").describe("Intel keeps the keys of the platform"),
  smt: flag
    .default("any")
    .describe("simultaneous multithreading; a certificate that does not say is neither"),
};

/** What is demanded of TD quotes, also of those that other evidence carries. */
export const tdx = z
  .strictObject({
    ...quoteRules,
    attributes: z
      .strictObject({
        debug: flag.default("forbidden").describe("DEBUG and the other attributes of a TD under debug"),
        septVeDisable: tdBit("SEPT_VE_DISABLE"),
        migratable: tdBit("MIGRATABLE", "forbidden"),
        pks: tdBit("PKS"),
        keyLocker: tdBit("KL"),
        perfmon: tdBit("PERFMON"),
        lass: tdBit("LASS"),
        icssd: tdBit("ICSSD"),
        tpa: tdBit("TPA"),
      })
      .prefault({}),
    xfam: z
      .strictObject({ required: hexOf(8).optional(), allowed: hexOf(8).optional() })
      .prefault({})
      .describe("masks, most significant byte first"),
    serviceTd: z
      .enum(["forbidden", "any"])
      .default("forbidden")
      .describe("a service TD, such as a migration TD, is bound; a report of TDX 1.0 does not tell"),
    mrServiceTds: oneOf(48).describe(
      "service TDs, one of which must be bound; `serviceTd` then says nothing",
    ),
    images: imageOf("mrTd", "rtmr0", "rtmr1", "rtmr2", "rtmr3"),
    measurementsFrom,
    mrTds: oneOf(48).describe("MRTD: what the TD was built of"),
    rtmr0: oneOf(48).describe("RTMR0"),
    rtmr1: oneOf(48).describe("RTMR1"),
    rtmr2: oneOf(48).describe("RTMR2"),
    rtmr3: oneOf(48).describe("RTMR3"),
    mrConfigIds: oneOf(48).describe("MRCONFIGID"),
    mrOwners: oneOf(48).describe("MROWNER"),
    mrOwnerConfigs: oneOf(48).describe("MROWNERCONFIG"),
    mrSeams: oneOf(48).describe("MRSEAM: the TDX module"),
    mrSignerSeams: oneOf(48).describe("MRSIGNERSEAM: who signed the TDX module; zero is Intel"),
    minimumTeeTcbSvn: hexOf(16).optional().describe("each of the 16 SVNs, as the report has them"),
  })
  .prefault({});

/** What is demanded of SGX quotes. */
export const sgx = z
  .strictObject({
    ...quoteRules,
    debug: flag.default("forbidden").describe("the enclave may be debugged"),
    mrEnclaves: oneOf(32).describe("MRENCLAVE"),
    mrSigners: oneOf(32).describe("MRSIGNER"),
    isvProdIds: z.array(z.number().int().min(0).max(65535)).min(1).optional().describe("ISVPRODID"),
    minimumIsvSvn: z.number().int().min(0).max(65535).optional().describe("ISVSVN"),
  })
  .prefault({});

const pcrValues = (bytes: number) =>
  z.record(z.string().regex(/^([0-9]|1[0-9]|2[0-3])$/, "a PCR, 0 to 23"), z.array(hexOf(bytes)).min(1));

/** What is demanded of a TPM's quote and of an event log. */
export const tpm = z
  .strictObject({
    nonces: z
      .array(
        z
          .string()
          .regex(/^([0-9a-fA-F]{2}){1,64}$/, "1 to 64 bytes of hexadecimal")
          .transform((text) => text.toLowerCase()),
      )
      .min(1)
      .optional()
      .describe("extraData of the quote"),
    pcrs: z
      .strictObject({
        sha1: pcrValues(20).optional(),
        sha256: pcrValues(32).optional(),
        sha384: pcrValues(48).optional(),
        sha512: pcrValues(64).optional(),
      })
      .default({})
      .describe("values of PCRs, by bank and number"),
    quote: flag.default("any").describe("a TPM quote must be there"),
    eventLog: flag.default("any").describe("an event log must be there, and replay to the quoted PCRs"),
    refusedEventDigests: z.array(digest).default([]).describe("events that refuse, by their digest"),
    requiredEventDigests: z.array(digest).default([]).describe("events that must be in the log"),
  })
  .prefault({});
