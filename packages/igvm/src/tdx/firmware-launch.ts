import { MOST_LAUNCH_BYTES, parseFirmware } from "../firmware/footer.ts";
import { parseTdxMetadata } from "../firmware/tdx-metadata.ts";
import { type Hash, PAGE_SIZE } from "../hash.ts";
import { MeasurementError } from "../measurement-error.ts";
import { TdMeasurement } from "./td-measurement.ts";

/**
 * In which order a host adds a section's pages and measures them: each page at once, as Linux does, or all pages first and then their
 * contents, as hosts with the TDX patches before it do. The same image has another MRTD by the other order.
 */
export type PageOrder = "page-by-page" | "section-by-section";

/**
 * MRTD of a TD that starts in this firmware, OVMF.fd with its variable store. Throws MalformedError for an image that cannot be read,
 * MeasurementError `not-in-image` for one without TDX metadata.
 */
export function measureTdLaunch(
  hash: Hash,
  image: Uint8Array,
  order: PageOrder = "page-by-page",
): Uint8Array {
  const sections = parseTdxMetadata(parseFirmware(image));
  if (sections === undefined)
    throw new MeasurementError("not-in-image", "the firmware has no TDX metadata: it cannot start in a TD");
  if (sections.reduce((sum, { size }) => sum + size, 0) > MOST_LAUNCH_BYTES)
    throw new MeasurementError("not-in-image", "the firmware's sections are larger than any firmware");
  const measurement = new TdMeasurement(hash);
  for (const { data, gpa, size, measured, augmented } of sections) {
    if (augmented) continue;
    for (let at = 0; at < size; at += PAGE_SIZE) {
      measurement.addPage(gpa + at);
      if (measured && order === "page-by-page")
        measurement.extendPage(gpa + at, data.subarray(at, at + PAGE_SIZE));
    }
    if (measured && order === "section-by-section")
      for (let at = 0; at < size; at += PAGE_SIZE)
        measurement.extendPage(gpa + at, data.subarray(at, at + PAGE_SIZE));
  }
  return measurement.finish();
}
