import { type Firmware, MOST_LAUNCH_BYTES, parseFirmware } from "../firmware/footer.ts";
import { parseSevMetadata, sevHashTableGpa, sevResetVector } from "../firmware/sev-metadata.ts";
import { type Hash, PAGE_SIZE } from "../hash.ts";
import { type DirectBoot, kernelHashesPage } from "../linux/kernel-hashes.ts";
import { MeasurementError } from "../measurement-error.ts";
import { SnpLaunchDigest } from "./launch-digest.ts";
import { buildVmsa, RESET_VECTOR, type Vmm } from "./vmsa.ts";

/** Where KVM and other hosts put the save areas: the last page below 2^52 with the upper bits cleared that the RMP does not hold. */
export const VMSA_GPA = 0xffff_ffff_f000;

/** More vCPUs than any host has: a bound, so that a wrong number does not run for hours. */
const MOST_VCPUS = 65_536;

export interface FirmwareLaunch {
  /** The image that is mapped to end at 4 GiB, OVMF.fd without its variable store being apart. */
  readonly firmware: Uint8Array;
  readonly vcpus: number;
  /** CPUID leaf 1 EAX of the vCPUs; see `vcpuSignature`. */
  readonly signature: number;
  /** Default: "qemu". */
  readonly vmm?: Vmm;
  /** SEV_FEATURES of the vCPUs. Default: 1, SNP alone. */
  readonly features?: bigint;
  /** What is booted directly with measured hashes (QEMU's kernel-hashes=on). */
  readonly boot?: DirectBoot;
}

/** The digest of the firmware's pages alone, with which the launch begins. */
export function measureSnpFirmware(hash: Hash, firmware: Uint8Array): Uint8Array {
  const { bytes, gpa } = parseFirmware(firmware);
  return new SnpLaunchDigest(hash).addImage(gpa, bytes).value;
}

/**
 * MEASUREMENT of an SEV-SNP guest that starts in this firmware: its pages, the sections of its metadata in their order, the save areas
 * of the vCPUs. `firmwareDigest`: `measureSnpFirmware` of the whole image, when `firmware` has only its end.
 * Throws MalformedError for an image that cannot be read, MeasurementError `not-in-image` or `bad-argument`.
 */
export function measureSnpLaunch(
  hash: Hash,
  launch: FirmwareLaunch,
  firmwareDigest?: Uint8Array,
): Uint8Array {
  const { vcpus, boot } = launch;
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > MOST_VCPUS)
    throw new MeasurementError("bad-argument", `no guest has ${vcpus} vCPUs`);
  const firmware = parseFirmware(launch.firmware);
  const digest =
    firmwareDigest === undefined
      ? new SnpLaunchDigest(hash).addImage(firmware.gpa, firmware.bytes)
      : new SnpLaunchDigest(hash, firmwareDigest);
  addSections(digest, hash, firmware, launch.vmm ?? "qemu", boot);
  addVcpus(digest, firmware, launch);
  return digest.value;
}

function addSections(
  digest: SnpLaunchDigest,
  hash: Hash,
  firmware: Firmware,
  vmm: Vmm,
  boot: DirectBoot | undefined,
): void {
  const sections = parseSevMetadata(firmware);
  if (sections === undefined)
    throw new MeasurementError("not-in-image", "the firmware has no SEV metadata: it cannot start under SNP");
  if (sections.reduce((sum, { size }) => sum + size, 0) > MOST_LAUNCH_BYTES)
    throw new MeasurementError("not-in-image", "the firmware's sections are larger than any firmware");
  if (boot !== undefined && !sections.some(({ type }) => type === "kernel-hashes"))
    throw new MeasurementError("not-in-image", "the firmware has no place for the hashes of a kernel");
  const cpuidPages: number[] = [];
  for (const section of sections) {
    const { gpa, size } = section;
    switch (section.type) {
      case "memory":
      case "calling-area":
        // EC2 adds RAM like this as unread zeros too; an SVSM's calling area is a page of the guest's memory.
        digest.addUnread("zero", gpa, size);
        break;
      case "secrets":
        digest.addUnread("secrets", gpa);
        break;
      case "cpuid":
        // EC2 adds these pages behind all others.
        if (vmm === "ec2") cpuidPages.push(gpa);
        else digest.addUnread("cpuid", gpa);
        break;
      case "kernel-hashes":
        if (boot === undefined) digest.addUnread("zero", gpa, size);
        else digest.add("normal", gpa, hashesPage(hash, firmware, boot, gpa));
        break;
      default:
        section.type satisfies never;
    }
  }
  for (const gpa of cpuidPages) digest.addUnread("cpuid", gpa);
}

function hashesPage(hash: Hash, firmware: Firmware, boot: DirectBoot, page: number): Uint8Array {
  const gpa = sevHashTableGpa(firmware);
  if (gpa === undefined || gpa < page || gpa >= page + PAGE_SIZE)
    throw new MeasurementError("not-in-image", "the firmware has no table for the hashes of a kernel");
  return kernelHashesPage(hash, boot, gpa - page);
}

function addVcpus(
  digest: SnpLaunchDigest,
  firmware: Firmware,
  { vcpus, signature, vmm = "qemu", features }: FirmwareLaunch,
): void {
  const common = { signature, vmm, ...(features === undefined ? {} : { features }) };
  digest.add("vmsa", VMSA_GPA, buildVmsa({ start: RESET_VECTOR, ...common }));
  if (vcpus === 1) return;
  const start = sevResetVector(firmware);
  if (start === undefined)
    throw new MeasurementError("not-in-image", "the firmware does not say where further vCPUs start");
  const page = buildVmsa({ start, ...common });
  for (let i = 1; i < vcpus; i++) digest.add("vmsa", VMSA_GPA, page);
}
