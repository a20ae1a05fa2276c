/** TPM_ST (Part 2, 6.9). */
export const St = {
  RSP_COMMAND: 0x00c4,
  NULL: 0x8000,
  NO_SESSIONS: 0x8001,
  SESSIONS: 0x8002,
  ATTEST_NV: 0x8014,
  ATTEST_COMMAND_AUDIT: 0x8015,
  ATTEST_SESSION_AUDIT: 0x8016,
  ATTEST_CERTIFY: 0x8017,
  ATTEST_QUOTE: 0x8018,
  ATTEST_TIME: 0x8019,
  ATTEST_CREATION: 0x801a,
  ATTEST_NV_DIGEST: 0x801c,
  CREATION: 0x8021,
  VERIFIED: 0x8022,
  AUTH_SECRET: 0x8023,
  HASHCHECK: 0x8024,
  AUTH_SIGNED: 0x8025,
} as const;

/** TPM_GENERATED_VALUE (Part 2, 6.2): "\xffTCG", first in what a restricted key signs. */
export const TPM_GENERATED = 0xff54_4347;

/** TPM_SU (Part 2, 6.10). */
export const Su = { CLEAR: 0, STATE: 1 } as const;

/** TPM_SE (Part 2, 6.11). */
export const Se = { HMAC: 0x00, POLICY: 0x01, TRIAL: 0x03 } as const;

/** TPM_EO (Part 2, 6.8). */
export const Eo = {
  EQ: 0x0000,
  NEQ: 0x0001,
  SIGNED_GT: 0x0002,
  UNSIGNED_GT: 0x0003,
  SIGNED_LT: 0x0004,
  UNSIGNED_LT: 0x0005,
  SIGNED_GE: 0x0006,
  UNSIGNED_GE: 0x0007,
  SIGNED_LE: 0x0008,
  UNSIGNED_LE: 0x0009,
  BITSET: 0x000a,
  BITCLEAR: 0x000b,
} as const;

/** TPM_CAP (Part 2, 6.12). */
export const Cap = {
  ALGS: 0x0,
  HANDLES: 0x1,
  COMMANDS: 0x2,
  PP_COMMANDS: 0x3,
  AUDIT_COMMANDS: 0x4,
  PCRS: 0x5,
  TPM_PROPERTIES: 0x6,
  PCR_PROPERTIES: 0x7,
  ECC_CURVES: 0x8,
  AUTH_POLICIES: 0x9,
  ACT: 0xa,
} as const;

/** TPM_PT (Part 2, 6.13): the fixed group from 0x100, the variable one from 0x200. */
export const Pt = {
  FAMILY_INDICATOR: 0x100,
  LEVEL: 0x101,
  REVISION: 0x102,
  DAY_OF_YEAR: 0x103,
  YEAR: 0x104,
  MANUFACTURER: 0x105,
  VENDOR_STRING_1: 0x106,
  VENDOR_STRING_2: 0x107,
  VENDOR_STRING_3: 0x108,
  VENDOR_STRING_4: 0x109,
  VENDOR_TPM_TYPE: 0x10a,
  FIRMWARE_VERSION_1: 0x10b,
  FIRMWARE_VERSION_2: 0x10c,
  INPUT_BUFFER: 0x10d,
  HR_TRANSIENT_MIN: 0x10e,
  HR_PERSISTENT_MIN: 0x10f,
  HR_LOADED_MIN: 0x110,
  ACTIVE_SESSIONS_MAX: 0x111,
  PCR_COUNT: 0x112,
  PCR_SELECT_MIN: 0x113,
  CONTEXT_GAP_MAX: 0x114,
  NV_COUNTERS_MAX: 0x116,
  NV_INDEX_MAX: 0x117,
  MEMORY: 0x118,
  CLOCK_UPDATE: 0x119,
  CONTEXT_HASH: 0x11a,
  CONTEXT_SYM: 0x11b,
  CONTEXT_SYM_SIZE: 0x11c,
  ORDERLY_COUNT: 0x11d,
  MAX_COMMAND_SIZE: 0x11e,
  MAX_RESPONSE_SIZE: 0x11f,
  MAX_DIGEST: 0x120,
  MAX_OBJECT_CONTEXT: 0x121,
  MAX_SESSION_CONTEXT: 0x122,
  PS_FAMILY_INDICATOR: 0x123,
  PS_LEVEL: 0x124,
  PS_REVISION: 0x125,
  PS_DAY_OF_YEAR: 0x126,
  PS_YEAR: 0x127,
  SPLIT_MAX: 0x128,
  TOTAL_COMMANDS: 0x129,
  LIBRARY_COMMANDS: 0x12a,
  VENDOR_COMMANDS: 0x12b,
  NV_BUFFER_MAX: 0x12c,
  MODES: 0x12d,
  MAX_CAP_BUFFER: 0x12e,
  PERMANENT: 0x200,
  STARTUP_CLEAR: 0x201,
  HR_NV_INDEX: 0x202,
  HR_LOADED: 0x203,
  HR_LOADED_AVAIL: 0x204,
  HR_ACTIVE: 0x205,
  HR_ACTIVE_AVAIL: 0x206,
  HR_TRANSIENT_AVAIL: 0x207,
  HR_PERSISTENT: 0x208,
  HR_PERSISTENT_AVAIL: 0x209,
  NV_COUNTERS: 0x20a,
  NV_COUNTERS_AVAIL: 0x20b,
  ALGORITHM_SET: 0x20c,
  LOADED_CURVES: 0x20d,
  LOCKOUT_COUNTER: 0x20e,
  MAX_AUTH_FAIL: 0x20f,
  LOCKOUT_INTERVAL: 0x210,
  LOCKOUT_RECOVERY: 0x211,
  NV_WRITE_RECOVERY: 0x212,
  AUDIT_COUNTER_0: 0x213,
  AUDIT_COUNTER_1: 0x214,
} as const;

/** TPM_PT_PCR (Part 2, 6.14). */
export const PtPcr = {
  SAVE: 0x00,
  EXTEND_L0: 0x01,
  RESET_L0: 0x02,
  EXTEND_L1: 0x03,
  RESET_L1: 0x04,
  EXTEND_L2: 0x05,
  RESET_L2: 0x06,
  EXTEND_L3: 0x07,
  RESET_L3: 0x08,
  EXTEND_L4: 0x09,
  RESET_L4: 0x0a,
  NO_INCREMENT: 0x11,
  DRTM_RESET: 0x12,
  POLICY: 0x13,
  AUTH: 0x14,
} as const;

/** TPM_HT (Part 2, 7.2): the most significant byte of a handle. */
export const Ht = {
  PCR: 0x00,
  NV_INDEX: 0x01,
  /** HMAC and saved sessions share a range of handles. */
  HMAC_SESSION: 0x02,
  POLICY_SESSION: 0x03,
  EXTERNAL_NV: 0x11,
  PERMANENT: 0x40,
  TRANSIENT: 0x80,
  PERSISTENT: 0x81,
  AC: 0x90,
} as const;

/** The most significant byte of a handle: a `Ht`, or no type at all. */
export function handleType(handle: number): number {
  return handle >>> 24;
}

/** TPM_RH (Part 2, 7.4). */
export const Rh = {
  OWNER: 0x4000_0001,
  NULL: 0x4000_0007,
  UNASSIGNED: 0x4000_0008,
  /** The password session of an authorization area. */
  PW: 0x4000_0009,
  LOCKOUT: 0x4000_000a,
  ENDORSEMENT: 0x4000_000b,
  PLATFORM: 0x4000_000c,
  PLATFORM_NV: 0x4000_000d,
  ACT_0: 0x4000_0110,
  ACT_F: 0x4000_011f,
} as const;

/** TPM_CLOCK_ADJUST (Part 2, 6.7): how the rate of Clock is changed. */
export const ClockAdjust = {
  COARSE_SLOWER: -3,
  MEDIUM_SLOWER: -2,
  FINE_SLOWER: -1,
  NO_CHANGE: 0,
  FINE_FASTER: 1,
  MEDIUM_FASTER: 2,
  COARSE_FASTER: 3,
} as const;

/** TPM_NT (Part 2, 13.4): types of NV index, bits 7:4 of TPMA_NV. */
export const Nt = { ORDINARY: 0, COUNTER: 1, BITS: 2, EXTEND: 4, PIN_FAIL: 8, PIN_PASS: 9 } as const;

/** TPM_SPEC_* (Part 2, 6.1): what the engine says that it implements. */
export const SPECIFICATION = {
  /** "2.0" and a zero. */
  family: 0x322e_3000,
  level: 0,
  /** 1.83, in hundredths. */
  version: 183,
  year: 2024,
  dayOfYear: 25,
} as const;
