import { EntresolError } from "@entresol/wire";

/** Why no measurement can be foretold. Bytes that break their format give `MalformedError` instead. */
export type MeasurementErrorCode =
  /** A number or name that no machine can be launched with. */
  | "bad-argument"
  /** The image lacks what the launch needs: metadata, a place for the kernel's hashes, a reset vector for further vCPUs. */
  | "not-in-image"
  /** The file is for other platforms. */
  | "wrong-platform"
  /** A header that every loader must know, and this one does not. */
  | "unknown-header";

export class MeasurementError extends EntresolError<MeasurementErrorCode> {
  override readonly name = "MeasurementError";
}
