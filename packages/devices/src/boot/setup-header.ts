/*
 * The fields of `struct boot_params` (the zero page) and of the setup header within it, which a bzImage has at the same
 * offsets: Documentation/arch/x86/zero-page.rst and boot.rst. Little-endian.
 */

/** A field: where it is, how wide, and what it is for. */
export interface BootField {
  readonly offset: number;
  /** Bytes; 0 for a table. */
  readonly width: 0 | 1 | 2 | 4 | 8;
  readonly purpose: string;
  /** Value that it must have. */
  readonly expected?: number;
  /** Unsigned; an 8-byte value above 2^53 - 1 reads as Infinity. `from` must reach beyond the field. */
  read(from: Uint8Array): number;
  write(to: Uint8Array, value: number): void;
}

/** Offset of the setup header: bytes from here to its end go from the bzImage to the zero page. */
export const headerStart = 0x1f1;
/** Where the zero page goes on with other fields. */
const headerLimit = 0x290;
export const zeroPageSize = 4096;

function define(offset: number, width: BootField["width"], purpose: string, expected?: number): BootField {
  return {
    offset,
    width,
    purpose,
    ...(expected === undefined ? {} : { expected }),
    read(from) {
      let value = 0;
      for (let i = width - 1; i >= 0; i--) value = value * 256 + from[offset + i]!;
      return value > Number.MAX_SAFE_INTEGER ? Number.POSITIVE_INFINITY : value;
    },
    write(to, value) {
      for (let i = 0, rest = value; i < width; i++, rest = Math.floor(rest / 256))
        to[offset + i] = rest % 256;
    },
  };
}

export const field = {
  rsdpAddress: define(0x070, 8, "acpi_rsdp_addr: where the RSDP is"),
  e820Count: define(0x1e8, 1, "e820_entries: how many the table has"),
  setupSectors: define(0x1f1, 1, "setup_sects: 512-byte sectors of setup code after the first; 0 means 4"),
  codeParagraphs: define(0x1f4, 4, "syssize: 16-byte units of kernel code"),
  bootFlag: define(0x1fe, 2, "boot_flag", 0xaa55),
  header: define(0x202, 4, 'header: "HdrS"', 0x53726448),
  version: define(0x206, 2, "version: major in the high byte"),
  typeOfLoader: define(0x210, 1, "type_of_loader"),
  loadFlags: define(0x211, 1, "loadflags: bit 0 LOADED_HIGH"),
  ramdiskImage: define(0x218, 4, "ramdisk_image: address of the initrd"),
  ramdiskSize: define(0x21c, 4, "ramdisk_size: its bytes, 0 for none"),
  commandLinePointer: define(0x228, 4, "cmd_line_ptr: address of the command line"),
  initrdAddressMaximum: define(0x22c, 4, "initrd_addr_max: highest address that the initrd may occupy"),
  kernelAlignment: define(0x230, 4, "kernel_alignment"),
  xloadFlags: define(0x236, 2, "xloadflags: bit 0 XLF_KERNEL_64, the 64-bit entry at 0x200"),
  commandLineSize: define(0x238, 4, "cmdline_size: longest command line, its NUL not counted"),
  preferredAddress: define(0x258, 8, "pref_address: where the kernel wants to be loaded"),
  initSize: define(0x260, 4, "init_size: RAM that it needs there until it reads the memory map"),
  e820Table: define(0x2d0, 0, "e820_table: entries of 20 bytes: address u64, length u64, type u32"),
} satisfies Record<string, BootField>;

/** End of a bzImage's setup header, as its jump instruction at 0x200 tells; undefined if the zero page has no room for it. */
export function headerEnd(kernel: Uint8Array): number | undefined {
  const end = 0x202 + kernel[0x201]!;
  return end > headerLimit || end < field.initSize.offset + 4 ? undefined : end;
}

/** A setup header for kernels that have none: vmlinux is entered behind the code that would check it. */
export function synthesizeHeader(): Uint8Array {
  const page = new Uint8Array(headerLimit);
  field.bootFlag.write(page, 0xaa55);
  field.header.write(page, 0x53726448);
  field.version.write(page, 0x20f);
  field.kernelAlignment.write(page, 0x1000000);
  return page.subarray(headerStart);
}
