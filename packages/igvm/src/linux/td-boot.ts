import type { Hash } from "../hash.ts";
import { rtmrOf } from "../tdx/rtmr.ts";
import { efiActionDigest, initrdDigest, loadOptionsDigest, separatorDigest } from "./boot-events.ts";
import { efiImageDigest } from "./efi-image.ts";
import type { DirectBoot } from "./kernel-hashes.ts";

/** RTMRs that a direct boot decides. RTMR0 depends on the machine's tables, and is read from its event log. */
export interface TdBootRegisters {
  readonly rtmr1: Uint8Array;
  readonly rtmr2: Uint8Array;
}

export interface TdBoot extends DirectBoot {
  /**
   * Where the firmware measures the separator of PCR 0 to 6: in RTMR1 besides RTMR0, or in RTMR0 alone; logs of both are known. Default:
   * "rtmr1".
   */
  readonly separatorIn?: "rtmr0" | "rtmr1";
}

/**
 * RTMR1 and RTMR2 of a TD in which OVMF boots QEMU's -kernel. `kernel` is what the firmware gets: for a TD QEMU writes into the setup
 * header of the file (loader type, heap end, addresses of command line and RAM disk), and these bytes are measured.
 */
export function measureTdBoot(
  hash: Hash,
  { kernel, initrd, commandLine = "", separatorIn = "rtmr1" }: TdBoot,
): TdBootRegisters {
  const rtmr1 = rtmrOf(hash, [
    efiImageDigest(hash, kernel),
    efiActionDigest(hash, "callingApplication"),
    ...(separatorIn === "rtmr1" ? [separatorDigest(hash)] : []),
    efiActionDigest(hash, "exitBootServices"),
    efiActionDigest(hash, "exitBootServicesReturned"),
  ]);
  const options = initrd === undefined ? commandLine : `${commandLine} initrd=initrd`;
  const rtmr2 = rtmrOf(hash, [
    loadOptionsDigest(hash, options),
    ...(initrd === undefined ? [] : [initrdDigest(hash, initrd)]),
  ]);
  return { rtmr1, rtmr2 };
}
