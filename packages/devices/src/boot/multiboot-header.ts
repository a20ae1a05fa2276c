import { hex } from "@entresol/wire";
import { BootError } from "./boot-error.ts";

/*
 * The header by which a kernel says that it is one for multiboot loaders: Multiboot Specification 0.6.96, 3.1.
 */

const headerMagic = 0x1badb002;
/** 3.1: the header lies wholly within the first 8192 bytes of the file, on a multiple of four. */
const searched = 8192;
/** 3.1.1: magic, flags, checksum. */
const shortHeader = 12;
/** 3.1: five addresses follow where flag 16 is set. */
const longHeader = 32;

/** The flags, 3.1.2. Bits 0 to 15 are demands: a loader that cannot meet one must not load the kernel. */
export const headerFlag = {
  pageAlignedModules: 1 << 0,
  memoryInformation: 1 << 1,
  videoMode: 1 << 2,
  addresses: 1 << 16,
} as const;

const met = headerFlag.pageAlignedModules | headerFlag.memoryInformation;

/** Where a file that needs not be ELF goes, 3.1.3: guest physical addresses as the header has them. */
export interface HeaderAddresses {
  /** Where the header itself comes to lie. */
  readonly header: number;
  /** Start of what is loaded. */
  readonly load: number;
  /** End of what is loaded; 0: the rest of the file. */
  readonly loadEnd: number;
  /** End of the zeroed memory behind it; 0: there is none. */
  readonly bssEnd: number;
  readonly entry: number;
}

export interface MultibootHeader {
  /** Offset in the file. */
  readonly offset: number;
  readonly flags: number;
  /** Where flag 16 is set; the file's own format does not count then. */
  readonly addresses: HeaderAddresses | undefined;
}

/**
 * Finds the header. Throws `BootError` `not-a-kernel` when there is none, `unsupported-kernel` when it demands what is not
 * offered, `truncated-kernel` when the file ends within it.
 */
export function readMultibootHeader(file: Uint8Array): MultibootHeader {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const word = (at: number): number => view.getUint32(at, true);
  const last = Math.min(file.length, searched) - shortHeader;
  for (let offset = 0; offset <= last; offset += 4) {
    if (word(offset) !== headerMagic) continue;
    const flags = word(offset + 4);
    // 3.1.2: magic, flags and checksum add up to zero; the magic alone may be data.
    if ((headerMagic + flags + word(offset + 8)) % 2 ** 32 !== 0) continue;
    const refused = flags & 0xffff & ~met;
    if (refused !== 0) {
      throw new BootError(
        "unsupported-kernel",
        `the multiboot header at offset ${hex(offset)} demands ${demands(refused)} (flags ${hex(flags)})`,
      );
    }
    if ((flags & headerFlag.addresses) === 0) return { offset, flags, addresses: undefined };
    if (offset + longHeader > file.length) {
      throw new BootError(
        "truncated-kernel",
        `the multiboot header at offset ${hex(offset)} has addresses, the file ends at ${hex(file.length)}`,
      );
    }
    const [header, load, loadEnd, bssEnd, entry] = [12, 16, 20, 24, 28].map((at) => word(offset + at)) as [
      number,
      number,
      number,
      number,
      number,
    ];
    return { offset, flags, addresses: { header, load, loadEnd, bssEnd, entry } };
  }
  throw new BootError(
    "not-a-kernel",
    `no multiboot header (magic ${hex(headerMagic)} with its checksum) in the first ${searched} bytes`,
  );
}

function demands(bits: number): string {
  return bits === headerFlag.videoMode
    ? "a video mode, and there is no screen"
    : `what no loader of this version knows: bits ${hex(bits)}`;
}
