/** TPMA_OBJECT (Part 2, 8.3). */
export const ObjectAttribute = {
  fixedTPM: 1 << 1,
  stClear: 1 << 2,
  fixedParent: 1 << 4,
  sensitiveDataOrigin: 1 << 5,
  userWithAuth: 1 << 6,
  adminWithPolicy: 1 << 7,
  firmwareLimited: 1 << 8,
  svnLimited: 1 << 9,
  noDA: 1 << 10,
  encryptedDuplication: 1 << 11,
  restricted: 1 << 16,
  decrypt: 1 << 17,
  sign: 1 << 18,
  x509sign: 1 << 19,
} as const;

/** TPMA_SESSION (Part 2, 8.4). */
export const SessionAttribute = {
  continueSession: 1 << 0,
  auditExclusive: 1 << 1,
  auditReset: 1 << 2,
  decrypt: 1 << 5,
  encrypt: 1 << 6,
  audit: 1 << 7,
} as const;

/** TPMA_NV (Part 2, 13.4). Bits 7:4 hold the type. */
export const NvAttribute = {
  PPWRITE: 1 << 0,
  OWNERWRITE: 1 << 1,
  AUTHWRITE: 1 << 2,
  POLICYWRITE: 1 << 3,
  POLICY_DELETE: 1 << 10,
  WRITELOCKED: 1 << 11,
  WRITEALL: 1 << 12,
  WRITEDEFINE: 1 << 13,
  WRITE_STCLEAR: 1 << 14,
  GLOBALLOCK: 1 << 15,
  PPREAD: 1 << 16,
  OWNERREAD: 1 << 17,
  AUTHREAD: 1 << 18,
  POLICYREAD: 1 << 19,
  NO_DA: 1 << 25,
  ORDERLY: 1 << 26,
  CLEAR_STCLEAR: 1 << 27,
  READLOCKED: 1 << 28,
  WRITTEN: 1 << 29,
  PLATFORMCREATE: 1 << 30,
  READ_STCLEAR: 0x8000_0000,
} as const;
export const NV_TYPE_SHIFT = 4;

/** TPMA_CC (Part 2, 8.9). */
export const CommandAttribute = {
  nv: 1 << 22,
  extensive: 1 << 23,
  flushed: 1 << 24,
  /** Bits 27:25. */
  handleCountShift: 25,
  responseHandle: 1 << 28,
  vendor: 1 << 29,
} as const;

/** TPMA_PERMANENT (Part 2, 8.6). */
export const PermanentAttribute = {
  ownerAuthSet: 1 << 0,
  endorsementAuthSet: 1 << 1,
  lockoutAuthSet: 1 << 2,
  disableClear: 1 << 8,
  inLockout: 1 << 9,
  tpmGeneratedEPS: 1 << 10,
} as const;

/** TPMA_STARTUP_CLEAR (Part 2, 8.7). */
export const StartupClearAttribute = {
  phEnable: 1 << 0,
  shEnable: 1 << 1,
  ehEnable: 1 << 2,
  phEnableNV: 1 << 3,
  readOnly: 1 << 4,
  orderly: 0x8000_0000,
} as const;

/** TPMA_MEMORY (Part 2, 8.8). */
export const MemoryAttribute = { sharedRAM: 1 << 0, sharedNV: 1 << 1, objectCopiedToRam: 1 << 2 } as const;

/** TPMA_ACT (Part 2, 8.12). */
export const ActAttribute = { signaled: 1 << 0, preserveSignaled: 1 << 1 } as const;

/** TPMA_LOCALITY (Part 2, 8.5): one bit per locality 0 to 4; from 32 the value is the locality. */
export function localityBit(locality: number): number {
  return locality < 5 ? 1 << locality : locality;
}
