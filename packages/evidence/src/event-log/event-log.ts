/** A hash algorithm of a log, as its specification identifier event lists it. */
export interface LogAlgorithm {
  /** TPM_ALG_ID: 0x0004 SHA-1, 0x000b SHA-256, 0x000c SHA-384, 0x000d SHA-512. */
  readonly id: number;
  /** Bytes of a digest. */
  readonly digestSize: number;
}

export interface EventDigest {
  readonly algorithm: number;
  readonly digest: Uint8Array;
}

/** An event as it is measured. */
export interface MeasuredEvent {
  /** PCR 0 to 23 in a TPM's log; in a CCEL the MR index: 0 MRTD, 1 to 4 for RTMR 0 to 3. */
  readonly index: number;
  /** See `EventType`. */
  readonly type: number;
  /** One for each algorithm of the log. */
  readonly digests: readonly EventDigest[];
  /** What the digests say something about: the very bytes that were hashed, or a description of them, by type. */
  readonly data: Uint8Array;
}

/** An event where it stands in a log. */
export interface LoggedEvent extends MeasuredEvent {
  /** First byte of the event in the log, and its bytes. */
  readonly offset: number;
  readonly length: number;
  /** First byte of `data` in the log. */
  readonly dataOffset: number;
}

/** TCG_EfiSpecIdEvent: how the rest of a crypto-agile log reads (PFP 1.06, 10.4.5.1). */
export interface SpecificationId {
  /** 0 client, 1 server. */
  readonly platformClass: number;
  readonly major: number;
  readonly minor: number;
  readonly errata: number;
  /** Of UINTN: 1 for 32 bits, 2 for 64 bits. */
  readonly uintnSize: number;
  readonly algorithms: readonly LogAlgorithm[];
  readonly vendorInfo: Uint8Array;
}

export interface EventLog {
  /** `crypto-agile` (TPM 2.0, CCEL), or `sha1`: TCG_PCR_EVENT all through, as firmware with the old protocol writes. */
  readonly format: "crypto-agile" | "sha1";
  readonly specification: SpecificationId | undefined;
  readonly algorithms: readonly LogAlgorithm[];
  /** Without the specification identifier event. */
  readonly events: readonly LoggedEvent[];
  /** TPM2_Startup's locality, from a StartupLocality event: 0, 3, or 4 when an H-CRTM measured first. */
  readonly startupLocality: number;
  /** Bytes of the log that are events; the rest is padding, 0xff or 0x00 throughout. */
  readonly length: number;
}

export const SPECIFICATION_SIGNATURE = "Spec ID Event03\0";
export const STARTUP_LOCALITY_SIGNATURE = "StartupLocality\0";
/** More than any firmware measures; a log cannot make a reader keep more. */
export const MOST_EVENTS = 65_536;
export const MOST_ALGORITHMS = 8;
