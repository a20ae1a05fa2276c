import type { Hash, HashName } from "../hash.ts";

/*
 * What firmware and the kernel's EFI stub measure of a boot, each as the digest that is extended. Under TDX the firmware's events of
 * PCR 1 and 7 go to RTMR0, those of PCR 2 to 6 to RTMR1, the stub's (PCR 9) to RTMR2 (UEFI 2.10, 38.4.1).
 */

const ascii = (text: string) => new TextEncoder().encode(text);

/** Actions that firmware measures as text (TCG PC Client Platform Firmware Profile, 10.4.4). */
export const efiActions = {
  callingApplication: "Calling EFI Application from Boot Option",
  returningFromApplication: "Returning from EFI Application from Boot Option",
  exitBootServices: "Exit Boot Services Invocation",
  exitBootServicesReturned: "Exit Boot Services Returned with Success",
} as const;

/** EV_EFI_ACTION. */
export function efiActionDigest(
  hash: Hash,
  action: keyof typeof efiActions,
  name: HashName = "sha384",
): Uint8Array {
  return hash(name, ascii(efiActions[action]));
}

/** EV_SEPARATOR with its four zeros. */
export function separatorDigest(hash: Hash, name: HashName = "sha384"): Uint8Array {
  return hash(name, new Uint8Array(4));
}

/**
 * The command line as Linux's EFI stub measures its load options: UTF-16LE with its terminating zero. OVMF that boots QEMU's -kernel
 * appends " initrd=initrd" when there is an initial RAM disk.
 */
export function loadOptionsDigest(hash: Hash, options: string, name: HashName = "sha384"): Uint8Array {
  const text = new Uint8Array(2 * (options.length + 1));
  const view = new DataView(text.buffer);
  for (let i = 0; i < options.length; i++) view.setUint16(2 * i, options.charCodeAt(i), true);
  return hash(name, text);
}

/** An initial RAM disk as the stub measures it: its bytes. */
export function initrdDigest(hash: Hash, initrd: Uint8Array, name: HashName = "sha384"): Uint8Array {
  return hash(name, initrd);
}
