import { EntresolError } from "@entresol/wire";

/** Why a call could not be carried out. Evidence that is wrong is a failed check, not one of these. */
export type EvidenceErrorCode =
  /** A public key of a kind that no evidence uses, or bytes that are no key. */
  | "unsupported-key"
  /** Neither native cryptography nor WebCrypto is there. */
  | "no-crypto"
  /** An argument that the caller can mend: a date that is none, an unknown kind. */
  | "bad-argument"
  /** A policy that does not follow its schema. */
  | "bad-policy"
  /** A bundle of collateral, or a token, that cannot be read. */
  | "bad-input"
  /** A service of AMD or Intel could not be asked, or answered with something else than what was asked for. */
  | "unavailable";

/** Thrown for what the caller did or the surroundings lack. */
export class EvidenceError extends EntresolError<EvidenceErrorCode> {
  override readonly name = "EvidenceError";
}
