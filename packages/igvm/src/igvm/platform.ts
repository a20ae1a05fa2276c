import { MeasurementError } from "../measurement-error.ts";
import { type IgvmFile, type IgvmHeader, type PlatformName, platformTypes } from "./header-types.ts";

/** A platform's header. Throws MeasurementError `wrong-platform` when the file has none or several of it. */
export function platformOf(file: IgvmFile, name: PlatformName): IgvmHeader<"supportedPlatform"> {
  const found = file.headers.filter(
    (header): header is IgvmHeader<"supportedPlatform"> =>
      header.type === "supportedPlatform" && header.platform === platformTypes[name],
  );
  const [platform] = found;
  if (platform === undefined || found.length > 1)
    throw new MeasurementError(
      "wrong-platform",
      `the file is for ${name} ${found.length === 0 ? "not at all" : "in several ways"}`,
    );
  return platform;
}

/** The headers that a loader on this platform follows, in order: those with its bit, and those for all. */
export function headersFor(file: IgvmFile, mask: number): readonly IgvmHeader[] {
  return file.headers.filter(
    (header): header is IgvmHeader =>
      header.type !== "unknown" && (!("mask" in header) || (header.mask & mask) !== 0),
  );
}

/** GUEST_POLICY for a platform; undefined when the file does not say. */
export function guestPolicyOf(file: IgvmFile, mask: number): bigint | undefined {
  const header = headersFor(file, mask).find(
    (candidate): candidate is IgvmHeader<"guestPolicy"> => candidate.type === "guestPolicy",
  );
  return header?.policy;
}
