import type { SnpReport, SnpTcb } from "@entresol/evidence";
import type { VerificationOptions } from "../context.ts";
import type { TrustAnchor } from "../x509/anchor.ts";
import type { SnpLine } from "./amd-keys.ts";
import type { LaunchIdentity } from "./id-block.ts";

/** An SNP report and what came with it. */
export interface SnpEvidence {
  /** ATTESTATION_REPORT, 1184 bytes. */
  readonly report: Uint8Array;
  /** DER certificates in any order: the VCEK or VLEK; ASK or ASVK and ARK where the built-in ones are not to be used. */
  readonly certificates?: readonly Uint8Array[];
  /** DER revocation lists of the ARK. Without one, revocation is not judged. */
  readonly crls?: readonly Uint8Array[];
  /** What the host gave with an extended guest request: certificates and lists besides those above. */
  readonly certificateTable?: Uint8Array;
  /** What the guest's owner signed at launch. */
  readonly identity?: LaunchIdentity;
}

export interface SnpOptions extends VerificationOptions {
  /** Roots to trust in place of AMD's. The built-in intermediates are not used then. */
  readonly roots?: readonly TrustAnchor[];
}

/** What a report says, once it could be read. */
export interface SnpClaims {
  readonly report: SnpReport;
  /** Whose chain signed; undefined when that could not be told. */
  readonly line: SnpLine | undefined;
  /** TCB versions as the product lays them out; undefined with `line`. */
  readonly tcb: Readonly<Record<"current" | "reported" | "committed" | "launch", SnpTcb>> | undefined;
  readonly signingKey: "vcek" | "vlek" | "none" | undefined;
  /** Common name of the root key that the chain ends at. */
  readonly root: string | undefined;
  /** Whose VLEK signed. */
  readonly cspId: string | undefined;
  /** Current TCB above committed TCB somewhere: firmware that can still be taken back. */
  readonly provisionalFirmware: boolean;
  /** CHIP_ID is all zero. */
  readonly chipIdMasked: boolean;
}
