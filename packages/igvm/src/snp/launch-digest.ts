import { Writer } from "@entresol/wire";
import { DIGEST_SIZE, type Hash, PAGE_SIZE } from "../hash.ts";
import { MeasurementError } from "../measurement-error.ts";

/** PAGE_TYPE of SNP_LAUNCH_UPDATE (SEV-SNP ABI 56860, 8.17.2 table 67). */
export const snpPageTypes = {
  normal: 1,
  vmsa: 2,
  zero: 3,
  unmeasured: 4,
  secrets: 5,
  cpuid: 6,
} as const;
export type SnpPageType = keyof typeof snpPageTypes;

/** The types whose contents count; of the others only type and address do. */
type PageWithContents = "normal" | "vmsa";

/** Size of PAGE_INFO, which it says itself. */
const PAGE_INFO_SIZE = 0x70;

/**
 * The launch digest of an SEV-SNP guest as the firmware computes it: every page that the host adds makes a PAGE_INFO, and the digest is
 * the hash of that, which holds the digest before it. The order of pages counts, therefore.
 */
export class SnpLaunchDigest {
  readonly #hash: Hash;
  #value: Uint8Array;

  /** `start`: the digest so far, when part of the launch is known by its digest only. */
  constructor(hash: Hash, start: Uint8Array = new Uint8Array(DIGEST_SIZE)) {
    if (start.length !== DIGEST_SIZE)
      throw new MeasurementError(
        "bad-argument",
        `a launch digest has ${DIGEST_SIZE} bytes, not ${start.length}`,
      );
    this.#hash = hash;
    this.#value = start.slice();
  }

  /** The digest so far: 48 bytes, a copy. */
  get value(): Uint8Array {
    return this.#value.slice();
  }

  /** A page whose contents are measured, at a guest physical address. Short contents are filled with zeros. */
  add(type: PageWithContents, gpa: number, contents: Uint8Array): this {
    return this.#extend(type, gpa, this.#hash("sha384", wholePage(contents)));
  }

  /** Pages of one type that is measured by address alone. `bytes`: a whole number of pages. */
  addUnread(type: Exclude<SnpPageType, PageWithContents>, gpa: number, bytes = PAGE_SIZE): this {
    for (let page = 0; page < bytes; page += PAGE_SIZE)
      this.#extend(type, gpa + page, new Uint8Array(DIGEST_SIZE));
    return this;
  }

  /** Bytes in normal pages one after another. */
  addImage(gpa: number, image: Uint8Array): this {
    for (let at = 0; at < image.length; at += PAGE_SIZE)
      this.add("normal", gpa + at, image.subarray(at, at + PAGE_SIZE));
    return this;
  }

  #extend(type: SnpPageType, gpa: number, contents: Uint8Array): this {
    if (!Number.isSafeInteger(gpa) || gpa < 0 || gpa % PAGE_SIZE !== 0)
      throw new MeasurementError("bad-argument", `0x${gpa.toString(16)} is not the address of a page`);
    const info = new Writer(PAGE_INFO_SIZE)
      .bytes(this.#value)
      .bytes(contents)
      .u16(PAGE_INFO_SIZE)
      .u8(snpPageTypes[type])
      .u8(0) // IMI_PAGE: no migration image
      .u32(0) // permissions of VMPL 3, 2 and 1: none at launch
      .u64(gpa);
    this.#value = Uint8Array.from(this.#hash("sha384", info.finish()));
    return this;
  }
}

function wholePage(contents: Uint8Array): Uint8Array {
  if (contents.length === PAGE_SIZE) return contents;
  if (contents.length > PAGE_SIZE)
    throw new MeasurementError("bad-argument", `${contents.length} bytes are more than a page`);
  const page = new Uint8Array(PAGE_SIZE);
  page.set(contents);
  return page;
}
