export { guestFolder } from "./cache.ts";
export { type CpioEntry, readCpio, writeCpio } from "./cpio.ts";
export { type EnsureGuestOptions, ensureGuest, type GuestImage } from "./ensure.ts";
export { buildInitramfs, type InitramfsContents } from "./initramfs.ts";
export {
  GuestImageError,
  type GuestImageErrorCode,
  type GuestProgress,
  type GuestRelease,
  type GuestStep,
  guestReleases,
} from "./release.ts";
