/** Base of format-zero codes, TPM 2.0 (Part 2, 6.6.3). */
const VER1 = 0x100;
/** Base of format-one codes, to which a handle, parameter or session number is added. */
const FMT1 = 0x080;
const WARN = 0x900;

/** TPM_RC (Part 2, 6.6.3). */
export const Rc = {
  SUCCESS: 0x000,
  BAD_TAG: 0x01e,

  INITIALIZE: VER1 + 0x000,
  FAILURE: VER1 + 0x001,
  SEQUENCE: VER1 + 0x003,
  DISABLED: VER1 + 0x020,
  EXCLUSIVE: VER1 + 0x021,
  AUTH_TYPE: VER1 + 0x024,
  AUTH_MISSING: VER1 + 0x025,
  POLICY: VER1 + 0x026,
  PCR: VER1 + 0x027,
  PCR_CHANGED: VER1 + 0x028,
  UPGRADE: VER1 + 0x02d,
  TOO_MANY_CONTEXTS: VER1 + 0x02e,
  AUTH_UNAVAILABLE: VER1 + 0x02f,
  REBOOT: VER1 + 0x030,
  UNBALANCED: VER1 + 0x031,
  COMMAND_SIZE: VER1 + 0x042,
  COMMAND_CODE: VER1 + 0x043,
  AUTHSIZE: VER1 + 0x044,
  AUTH_CONTEXT: VER1 + 0x045,
  NV_RANGE: VER1 + 0x046,
  NV_SIZE: VER1 + 0x047,
  NV_LOCKED: VER1 + 0x048,
  NV_AUTHORIZATION: VER1 + 0x049,
  NV_UNINITIALIZED: VER1 + 0x04a,
  NV_SPACE: VER1 + 0x04b,
  NV_DEFINED: VER1 + 0x04c,
  BAD_CONTEXT: VER1 + 0x050,
  CPHASH: VER1 + 0x051,
  PARENT: VER1 + 0x052,
  NEEDS_TEST: VER1 + 0x053,
  NO_RESULT: VER1 + 0x054,
  SENSITIVE: VER1 + 0x055,
  READ_ONLY: VER1 + 0x056,

  ASYMMETRIC: FMT1 + 0x001,
  ATTRIBUTES: FMT1 + 0x002,
  HASH: FMT1 + 0x003,
  VALUE: FMT1 + 0x004,
  HIERARCHY: FMT1 + 0x005,
  KEY_SIZE: FMT1 + 0x007,
  MGF: FMT1 + 0x008,
  MODE: FMT1 + 0x009,
  TYPE: FMT1 + 0x00a,
  HANDLE: FMT1 + 0x00b,
  KDF: FMT1 + 0x00c,
  RANGE: FMT1 + 0x00d,
  AUTH_FAIL: FMT1 + 0x00e,
  NONCE: FMT1 + 0x00f,
  PP: FMT1 + 0x010,
  SCHEME: FMT1 + 0x012,
  SIZE: FMT1 + 0x015,
  SYMMETRIC: FMT1 + 0x016,
  TAG: FMT1 + 0x017,
  SELECTOR: FMT1 + 0x018,
  INSUFFICIENT: FMT1 + 0x01a,
  SIGNATURE: FMT1 + 0x01b,
  KEY: FMT1 + 0x01c,
  POLICY_FAIL: FMT1 + 0x01d,
  INTEGRITY: FMT1 + 0x01f,
  TICKET: FMT1 + 0x020,
  RESERVED_BITS: FMT1 + 0x021,
  BAD_AUTH: FMT1 + 0x022,
  EXPIRED: FMT1 + 0x023,
  POLICY_CC: FMT1 + 0x024,
  BINDING: FMT1 + 0x025,
  CURVE: FMT1 + 0x026,
  ECC_POINT: FMT1 + 0x027,
  CHANNEL: FMT1 + 0x030,

  CONTEXT_GAP: WARN + 0x001,
  OBJECT_MEMORY: WARN + 0x002,
  SESSION_MEMORY: WARN + 0x003,
  MEMORY: WARN + 0x004,
  SESSION_HANDLES: WARN + 0x005,
  OBJECT_HANDLES: WARN + 0x006,
  LOCALITY: WARN + 0x007,
  YIELDED: WARN + 0x008,
  CANCELED: WARN + 0x009,
  TESTING: WARN + 0x00a,
  /** Handle `n` (0 to 6) refers to a context that is not loaded: add `n`. */
  REFERENCE_H0: WARN + 0x010,
  /** Session `n` (0 to 6) is not loaded: add `n`. */
  REFERENCE_S0: WARN + 0x018,
  NV_RATE: WARN + 0x020,
  LOCKOUT: WARN + 0x021,
  RETRY: WARN + 0x022,
  NV_UNAVAILABLE: WARN + 0x023,
} as const;

const FORMAT_ONE = 0x080;
const PARAMETER = 0x040;
const SESSION = 0x800;

function isFormatOne(rc: number): boolean {
  return (rc & FORMAT_ONE) !== 0;
}

/** `rc` said of handle `n`, 1 to 7. Format-zero codes stay as they are. */
export function ofHandle(rc: number, n: number): number {
  return isFormatOne(rc) ? rc | (n << 8) : rc;
}

/** `rc` said of parameter `n`, 1 to 15. Format-zero codes stay as they are. */
export function ofParameter(rc: number, n: number): number {
  return isFormatOne(rc) ? rc | PARAMETER | (n << 8) : rc;
}

/** `rc` said of session `n`, 1 to 7. Format-zero codes stay as they are. */
export function ofSession(rc: number, n: number): number {
  return isFormatOne(rc) ? rc | SESSION | (n << 8) : rc;
}

const names = new Map<number, string>(
  Object.entries(Rc).map(([name, value]) => [value as number, `TPM_RC_${name}`]),
);

/** A response code for people: `TPM_RC_VALUE of parameter 2`. */
export function responseCodeName(rc: number): string {
  const exact = names.get(rc);
  if (exact !== undefined) return exact;
  if (isFormatOne(rc)) {
    const base = names.get(rc & 0x0bf) ?? `0x${(rc & 0x0bf).toString(16)}`;
    const n = (rc >>> 8) & 0xf;
    if ((rc & PARAMETER) !== 0) return `${base} of parameter ${n}`;
    return n >= 8 ? `${base} of session ${n - 8}` : `${base} of handle ${n}`;
  }
  if (rc >= Rc.REFERENCE_S0 && rc < Rc.REFERENCE_S0 + 7) return `TPM_RC_REFERENCE_S${rc - Rc.REFERENCE_S0}`;
  if (rc >= Rc.REFERENCE_H0 && rc < Rc.REFERENCE_H0 + 7) return `TPM_RC_REFERENCE_H${rc - Rc.REFERENCE_H0}`;
  return `0x${rc.toString(16).padStart(3, "0")}`;
}

/**
 * What ends a command with a response code. Thrown inside the engine and by unmarshalling, and caught where the command began: it never
 * leaves `Tpm.execute`.
 */
export class TpmError extends Error {
  override readonly name = "TpmError";
  readonly rc: number;

  constructor(rc: number) {
    // A trace would cost more than most commands do, and nobody sees it.
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(responseCodeName(rc));
    Error.stackTraceLimit = stackTraceLimit;
    this.rc = rc;
  }
}
