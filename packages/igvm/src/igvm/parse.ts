import { crc32, MalformedError, Reader } from "@entresol/wire";
import { PAGE_SIZE } from "../hash.ts";
import {
  type AnyHeader,
  type HeaderName,
  headerRows,
  type IgvmFile,
  type IgvmHeader,
  LARGE_PAGE,
  pageFlags,
  platformTypes,
  type Section,
  sectionRanges,
} from "./header-types.ts";

const spec = "IGVM file format";
export const IGVM_MAGIC = 0x4d56_4749;
const OPTIONAL = 0x8000_0000;
/** Bytes of a save area of SEV-SNP. */
const VMSA_SIZE = 4096;
/** Bytes of the registers of a native x64 guest. */
const NATIVE_CONTEXT_SIZE = 0xe8;
/** Bytes of a VBS register behind the u32 that counts them. */
const VBS_REGISTER_SIZE = 0x20;
/** Bytes that all parameter areas may have: what a guest can be told is less, and a hostile file must not make a reader run for hours. */
const MOST_AREA_BYTES = 0x400_0000n;

const rowsByCode = new Map(
  (Object.keys(headerRows) as HeaderName[]).map((name) => [headerRows[name].code, name] as const),
);
const sections: readonly Section[] = ["platform", "initialization", "directive"];

function fail(code: MalformedError["code"], offset: number, message: string): never {
  throw new MalformedError(code, offset, spec, message);
}

/**
 * Reads an IGVM file whole. Data stays a view of `bytes`. Throws MalformedError for a file that is damaged, that a loader would have
 * to refuse, or that has a header which every loader must know and this one does not.
 */
export function parseIgvm(bytes: Uint8Array): IgvmFile {
  const reader = new Reader(bytes, spec);
  if (reader.u32() !== IGVM_MAGIC) fail("bad-magic", 0, "the file does not begin with IGVM");
  const version = reader.u32();
  if (version !== 1 && version !== 2) fail("bad-version", 4, `version ${version} is not known`);
  const headersAt = reader.u32();
  const headersSize = reader.u32();
  const fileSize = reader.u32();
  const checksum = reader.u32();
  const code = version === 2 ? reader.u32() : 0;
  const pageSize = version === 2 ? reader.u32() : PAGE_SIZE;
  if (code > 1) fail("bad-value", 24, `the architecture ${code} is not known`);
  if (pageSize < PAGE_SIZE || (pageSize & (pageSize - 1)) !== 0)
    fail("bad-value", 28, `${pageSize} is not the size of a page`);
  if (fileSize !== bytes.length)
    fail("out-of-range", 16, `the file has ${bytes.length} bytes, and says ${fileSize}`);
  if (headersAt < reader.offset || headersAt % 8 !== 0 || headersAt + headersSize > bytes.length)
    fail("out-of-range", 8, "the variable headers are not in the file");
  const fixed = bytes.slice(0, reader.offset);
  fixed.fill(0, 20, 24);
  const found = crc32(bytes.subarray(headersAt, headersAt + headersSize), crc32(fixed));
  if (found !== checksum)
    fail("bad-value", 20, `the checksum is 0x${found.toString(16)}, and says 0x${checksum.toString(16)}`);
  const headers = new HeaderReader(bytes, headersAt, headersAt + headersSize, pageSize).read();
  return { version, architecture: code === 0 ? "x64" : "arm64", pageSize, headers };
}

interface Area {
  readonly size: bigint;
  /** The platforms for which it was inserted already: each does so once. */
  insertedFor: number;
}

class HeaderReader {
  readonly #bytes: Uint8Array;
  readonly #reader: Reader;
  readonly #end: number;
  readonly #pageSize: number;
  readonly #headers: AnyHeader[] = [];
  /** Platform types by their bit. */
  readonly #platforms = new Map<number, number>();
  readonly #areas = new Map<number, Area>();
  #section = 0;
  #areaBytes = 0n;

  constructor(bytes: Uint8Array, start: number, end: number, pageSize: number) {
    this.#bytes = bytes;
    this.#end = end;
    this.#pageSize = pageSize;
    this.#reader = new Reader(bytes.subarray(0, end), spec).seek(start);
  }

  read(): readonly AnyHeader[] {
    const reader = this.#reader;
    while (reader.offset < this.#end) {
      const at = reader.offset;
      const code = reader.u32();
      const length = reader.u32();
      const content = reader.view(length);
      const padding = reader.view(Math.min((8 - (length % 8)) % 8, reader.remaining));
      if (padding.some((byte) => byte !== 0)) fail("bad-value", at + 8 + length, "the padding is not zero");
      this.#header(code, content, at);
    }
    if (this.#platforms.size === 0) fail("bad-value", this.#end, "the file is for no platform");
    return this.#headers;
  }

  #header(typeCode: number, content: Uint8Array, at: number): void {
    const optional = typeCode >= OPTIONAL;
    const code = optional ? typeCode - OPTIONAL : typeCode;
    const section = sections.findIndex(
      (name) => code >= sectionRanges[name][0] && code <= sectionRanges[name][1],
    );
    if (section >= 0 && section < this.#section)
      fail("bad-value", at, `a header of the ${sections[section]} section stands behind that section`);
    if (section >= 0) this.#section = section;
    const type = rowsByCode.get(code);
    if (type === undefined) {
      if (!optional) fail("bad-value", at, `the header 0x${code.toString(16)} is not known, and must be`);
      this.#headers.push({ type: "unknown", code, content });
      return;
    }
    const header = { ...this.#fields(type, content, at), ...(optional ? { optional } : {}) } as IgvmHeader;
    this.#check(header, at);
    this.#headers.push(header);
  }

  #fields(type: HeaderName, content: Uint8Array, at: number): Record<string, unknown> {
    const { fields, data } = headerRows[type];
    const reader = new Reader(content, spec);
    const value: Record<string, unknown> = { type };
    for (const [name, fieldType] of fields) {
      const offset = at + 8 + reader.offset;
      const field =
        typeof fieldType === "number"
          ? reader.view(fieldType)
          : fieldType === "u64"
            ? reader.u64()
            : reader[fieldType]();
      if (!name.startsWith("reserved")) value[name] = field;
      else if (typeof field === "number" ? field !== 0 : (field as Uint8Array).some((byte) => byte !== 0))
        fail("bad-value", offset, `${type}.${name} is not zero`);
    }
    if (reader.remaining !== 0)
      fail("bad-value", at + 4, `${type} has ${content.length} bytes, not ${reader.offset}`);
    if (data !== undefined) {
      const offset = value["fileOffset"] as number;
      value["data"] = offset === 0 ? new Uint8Array() : this.#data(type, value, offset, at);
      delete value["fileOffset"];
      delete value["fileSize"];
    }
    return value;
  }

  #data(type: HeaderName, value: Record<string, unknown>, offset: number, at: number): Uint8Array {
    if (offset < this.#end || offset > this.#bytes.length)
      fail(
        "out-of-range",
        at,
        `${type} has its data at 0x${offset.toString(16)}, outside of the file's data`,
      );
    const left = this.#bytes.length - offset;
    let size: number;
    switch (headerRows[type].data) {
      case "page":
        size = ((value["flags"] as number) & pageFlags.large) !== 0 ? LARGE_PAGE : this.#pageSize;
        break;
      case "area":
        size = Number(value["size"] as bigint);
        break;
      case "sized":
        size = value["fileSize"] as number;
        break;
      default:
        return this.#context(value["mask"] as number, offset, left, at);
    }
    return this.#piece(type, offset, size, left, at);
  }

  #piece(type: HeaderName, offset: number, size: number, left: number, at: number): Uint8Array {
    if (size > left)
      fail("truncated", at, `${type} has ${size} bytes of data, and ${left} are left in the file`);
    return this.#bytes.subarray(offset, offset + size);
  }

  /** What a context is depends on the platform, so that one for several of them must mean the same on all. */
  #context(mask: number, offset: number, left: number, at: number): Uint8Array {
    const platform = [...this.#platforms].find(([bit]) => (mask & bit) !== 0)?.[1];
    if (platform === platformTypes.native)
      return this.#piece("vpContext", offset, NATIVE_CONTEXT_SIZE, left, at);
    if (platform === platformTypes.vsm) {
      const registers = left < 4 ? 0 : new Reader(this.#bytes, spec).seek(offset).u32();
      return this.#piece("vpContext", offset, 4 + VBS_REGISTER_SIZE * registers, left, at);
    }
    if (left >= VMSA_SIZE) return this.#piece("vpContext", offset, VMSA_SIZE, left, at);
    // Builders that write no more than the fields in use end the file there.
    const page = new Uint8Array(VMSA_SIZE);
    page.set(this.#bytes.subarray(offset));
    return page;
  }

  #check(header: IgvmHeader, at: number): void {
    if (header.type === "supportedPlatform") this.#platform(header, at);
    else if ("mask" in header) this.#mask(header.mask, at);
    switch (header.type) {
      case "parameterArea":
        this.#area(header, at);
        break;
      case "pageData":
        if (header.flags > 7)
          fail("bad-value", at, `a page has unknown flags, 0x${header.flags.toString(16)}`);
        this.#aligned(header.gpa, (header.flags & pageFlags.large) !== 0 ? LARGE_PAGE : this.#pageSize, at);
        break;
      case "vpContext":
        this.#aligned(header.gpa, this.#pageSize, at);
        break;
      case "requiredMemory":
      case "errorRange":
        this.#aligned(header.gpa, this.#pageSize, at);
        this.#aligned(BigInt(header.size), this.#pageSize, at);
        break;
      case "parameterInsert": {
        this.#aligned(header.gpa, this.#pageSize, at);
        const area = this.#declared(header.area, at);
        if ((area.insertedFor & header.mask) !== 0)
          fail("bad-value", at, `the parameter area ${header.area} is inserted twice`);
        area.insertedFor |= header.mask;
        break;
      }
      default:
        if ("area" in header) {
          const { size } = this.#declared(header.area, at);
          if (BigInt(header.byteOffset) >= size)
            fail("out-of-range", at, `${header.type} lies behind its parameter area`);
        }
    }
  }

  #platform({ mask, platform }: IgvmHeader<"supportedPlatform">, at: number): void {
    if (mask === 0 || (mask & (mask - 1)) !== 0)
      fail("bad-value", at, `a platform has the mask 0x${mask.toString(16)}, not one bit`);
    if (this.#platforms.has(mask))
      fail("bad-value", at, `two platforms have the mask 0x${mask.toString(16)}`);
    this.#platforms.set(mask, platform);
  }

  #mask(mask: number, at: number): void {
    let known = 0;
    for (const bit of this.#platforms.keys()) known |= bit;
    if (mask === 0 || (mask & ~known) !== 0)
      fail("bad-value", at, `a header is for platforms that the file does not have, 0x${mask.toString(16)}`);
  }

  #area({ size, area }: IgvmHeader<"parameterArea">, at: number): void {
    this.#aligned(size, this.#pageSize, at);
    this.#areaBytes += size;
    if (this.#areaBytes > MOST_AREA_BYTES)
      fail("out-of-range", at, "the parameter areas are larger than any host fills");
    if (this.#areas.has(area)) fail("bad-value", at, `two parameter areas have the index ${area}`);
    this.#areas.set(area, { size, insertedFor: 0 });
  }

  #declared(area: number, at: number): Area {
    const found = this.#areas.get(area);
    if (found === undefined) fail("bad-value", at, `there is no parameter area ${area}`);
    return found;
  }

  #aligned(value: bigint, boundary: number, at: number): void {
    if (value % BigInt(boundary) !== 0n || value >= 1n << 52n)
      fail("out-of-range", at, `0x${value.toString(16)} is no address or size of pages`);
  }
}
