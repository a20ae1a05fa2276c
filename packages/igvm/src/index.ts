export { type Firmware, firmwareGuids, parseFirmware } from "./firmware/footer.ts";
export {
  parseSevMetadata,
  type SevSection,
  type SevSectionType,
  sevHashTableGpa,
  sevResetVector,
  sevSectionTypes,
} from "./firmware/sev-metadata.ts";
export {
  parseTdxMetadata,
  type TdxSection,
  type TdxSectionType,
  tdxSectionTypes,
} from "./firmware/tdx-metadata.ts";
export { DIGEST_SIZE, type Hash, type HashName } from "./hash.ts";
export { buildIgvm, type IgvmInput } from "./igvm/build.ts";
export {
  type AnyHeader,
  type HeaderName,
  headerRows,
  type IgvmFile,
  type IgvmHeader,
  type PlatformName,
  pageDataTypes,
  pageFlags,
  platformTypes,
  type UnknownHeader,
} from "./igvm/header-types.ts";
export { type SnpIdentity, snpIdentityOf } from "./igvm/identity.ts";
export { measureIgvmSnp, measureIgvmTdx, type SnpLoader } from "./igvm/measure.ts";
export { IGVM_MAGIC, parseIgvm } from "./igvm/parse.ts";
export { guestPolicyOf, headersFor, platformOf } from "./igvm/platform.ts";
export {
  efiActionDigest,
  efiActions,
  initrdDigest,
  loadOptionsDigest,
  separatorDigest,
} from "./linux/boot-events.ts";
export { efiImageDigest } from "./linux/efi-image.ts";
export { buildKernelHashes, type DirectBoot } from "./linux/kernel-hashes.ts";
export { measureTdBoot, type TdBoot, type TdBootRegisters } from "./linux/td-boot.ts";
export { MeasurementError, type MeasurementErrorCode } from "./measurement-error.ts";
export { softwareHash } from "./sha2.ts";
export {
  type FirmwareLaunch,
  measureSnpFirmware,
  measureSnpLaunch,
  VMSA_GPA,
} from "./snp/firmware-launch.ts";
export { SnpLaunchDigest, type SnpPageType, snpPageTypes } from "./snp/launch-digest.ts";
export { cpuidSignature, type VcpuModel, vcpuModels, vcpuSignature } from "./snp/vcpu-signature.ts";
export { buildVmsa, RESET_VECTOR, sevFeatures, type Vmm, type VmsaInput, vmms } from "./snp/vmsa.ts";
export { measureTdLaunch, type PageOrder } from "./tdx/firmware-launch.ts";
export { extendRtmr, rtmrOf } from "./tdx/rtmr.ts";
export { TdMeasurement } from "./tdx/td-measurement.ts";
