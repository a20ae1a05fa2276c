import { EntresolError } from "@entresol/wire";

/** Why a kernel cannot be put into memory. */
export type BootErrorCode =
  | "not-a-kernel"
  | "truncated-kernel"
  | "unsupported-kernel"
  | "kernel-too-large"
  | "initrd-too-large"
  | "command-line-too-long"
  | "memory-too-small";

/** Thrown by the loaders, whatever the bytes. The message names the field, its offset or the sizes that do not fit. */
export class BootError extends EntresolError<BootErrorCode> {
  override readonly name = "BootError";
}
