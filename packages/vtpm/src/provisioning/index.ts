export {
  type AuthorityKeyKind,
  CertificateAuthority,
  type CertificateAuthorityCode,
  CertificateAuthorityError,
} from "./certificate-authority.ts";
export { confirm } from "./confirmation.ts";
export {
  type EndorsementKey,
  type EndorsementKeyName,
  type EndorsementUse,
  endorsementKeys,
  STORAGE_ROOT_HANDLE,
  type StorageRootKind,
  storageRootTemplate,
} from "./endorsement-keys.ts";
export { NvArea, readArea } from "./nv-areas.ts";
export {
  type CertificationOptions,
  type Provisioned,
  type ProvisionedKey,
  type ProvisioningCode,
  ProvisioningError,
  type ProvisioningOptions,
  provision,
} from "./provision.ts";
export { publicKeyOf } from "./public-key.ts";
export { reconfigure, setUp } from "./setup.ts";
export type { MakerNames } from "./tcg-extensions.ts";
