import { type Hash, PAGE_SIZE } from "../hash.ts";
import { MeasurementError } from "../measurement-error.ts";
import { VMSA_GPA } from "../snp/firmware-launch.ts";
import { SnpLaunchDigest } from "../snp/launch-digest.ts";
import { TdMeasurement } from "../tdx/td-measurement.ts";
import { type IgvmFile, type IgvmHeader, LARGE_PAGE, pageDataTypes, pageFlags } from "./header-types.ts";
import { headersFor, platformOf } from "./platform.ts";

/** How a loader does what the file format leaves to it. */
export interface SnpLoader {
  /**
   * QEMU over KVM: save areas are measured when the launch ends, behind everything else, and at KVM's own address. Otherwise where the
   * file has them, as Hyper-V does. Files that are made for KVM have them so already, and come out the same. Default: false.
   */
  readonly kvm?: boolean;
  /** Pages without data are added as pages of the type zero instead of as normal pages of zeros. Default: false, as the format says. */
  readonly zeroPages?: boolean;
}

/**
 * MEASUREMENT of an SEV-SNP guest that is launched from an IGVM file. Throws MeasurementError `wrong-platform` for a file that is not
 * for SNP.
 */
export function measureIgvmSnp(
  hash: Hash,
  file: IgvmFile,
  { kvm = false, zeroPages = false }: SnpLoader = {},
): Uint8Array {
  const mask = maskOf(file, "snp");
  const digest = new SnpLaunchDigest(hash);
  const areas = new Map<number, number>();
  const saveAreas: Uint8Array[] = [];
  for (const header of headersFor(file, mask)) {
    switch (header.type) {
      case "parameterArea":
        areas.set(header.area, Number(header.size));
        break;
      case "pageData":
        addSnpPage(digest, header, zeroPages);
        break;
      case "parameterInsert":
        digest.addUnread("unmeasured", Number(header.gpa), areas.get(header.area) ?? 0);
        break;
      case "vpContext":
        if (kvm) saveAreas.push(header.data);
        else digest.add("vmsa", Number(header.gpa), header.data);
        break;
      default:
    }
  }
  for (const saveArea of saveAreas) digest.add("vmsa", VMSA_GPA, saveArea);
  return digest.value;
}

/** The platform's bit. Both platforms are of x64, whose pages have 4 KiB. */
function maskOf(file: IgvmFile, name: "snp" | "tdx"): number {
  const { mask } = platformOf(file, name);
  if (file.architecture !== "x64" || file.pageSize !== PAGE_SIZE)
    throw new MeasurementError("wrong-platform", `${name} has no pages of ${file.pageSize} bytes`);
  return mask;
}

function addSnpPage(digest: SnpLaunchDigest, header: IgvmHeader<"pageData">, zeroPages: boolean): void {
  const { flags, dataType, data } = header;
  if ((flags & pageFlags.shared) !== 0) return;
  for (const [gpa, contents] of pagesOf(header)) {
    switch (dataType) {
      case pageDataTypes.secrets:
        digest.addUnread("secrets", gpa);
        break;
      case pageDataTypes.cpuid:
      case pageDataTypes.cpuidXf:
        digest.addUnread("cpuid", gpa);
        break;
      case pageDataTypes.normal:
        if ((flags & pageFlags.unmeasured) !== 0) digest.addUnread("unmeasured", gpa);
        else if (data.length === 0 && zeroPages) digest.addUnread("zero", gpa);
        else digest.add("normal", gpa, contents);
        break;
      default:
        throw new MeasurementError("unknown-header", `a page has the unknown data type ${dataType}`);
    }
  }
}

/** MRTD of a TD that is launched from an IGVM file. Throws MeasurementError `wrong-platform` for a file that is not for TDX. */
export function measureIgvmTdx(hash: Hash, file: IgvmFile): Uint8Array {
  const mask = maskOf(file, "tdx");
  const measurement = new TdMeasurement(hash);
  const areas = new Map<number, number>();
  for (const header of headersFor(file, mask)) {
    switch (header.type) {
      case "parameterArea":
        areas.set(header.area, Number(header.size));
        break;
      case "pageData":
        if ((header.flags & pageFlags.shared) !== 0) break;
        for (const [gpa, contents] of pagesOf(header)) {
          if ((header.flags & pageFlags.unmeasured) !== 0) measurement.addPage(gpa);
          else measurement.addMeasuredPage(gpa, contents);
        }
        break;
      case "parameterInsert":
        for (let at = 0; at < (areas.get(header.area) ?? 0); at += PAGE_SIZE)
          measurement.addPage(Number(header.gpa) + at);
        break;
      default:
    }
  }
  return measurement.finish();
}

/** The 4 KiB pages of a PAGE_DATA: both platforms measure large pages in these. */
function* pagesOf({
  gpa,
  flags,
  data,
}: IgvmHeader<"pageData">): Generator<[gpa: number, contents: Uint8Array]> {
  const size = (flags & pageFlags.large) !== 0 ? LARGE_PAGE : PAGE_SIZE;
  for (let at = 0; at < size; at += PAGE_SIZE) yield [Number(gpa) + at, data.subarray(at, at + PAGE_SIZE)];
}
