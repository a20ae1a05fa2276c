import { crc32, Writer } from "@entresol/wire";
import { type AnyHeader, headerRows, type IgvmFile, LARGE_PAGE, pageFlags } from "./header-types.ts";
import { IGVM_MAGIC } from "./parse.ts";

/** What makes a file; architecture and page size are of version 2 only. */
export type IgvmInput = Pick<IgvmFile, "headers"> & Partial<IgvmFile>;

/**
 * The bytes of an IGVM file: headers in their order, and behind them their data, equal data once. What `parseIgvm` gives comes out as
 * a file that reads the same. Throws RangeError for a byte field, a page or an area of a wrong size, and beyond 4 GiB.
 */
export function buildIgvm({
  version = 1,
  architecture = "x64",
  pageSize = 4096,
  headers,
}: IgvmInput): Uint8Array {
  const fixedSize = version === 1 ? 24 : 32;
  for (const header of headers) checkData(header, pageSize);
  const headersSize = writeHeaders(headers, () => 0).length;
  const dataAt = Math.ceil((fixedSize + headersSize) / pageSize) * pageSize;
  const store = new DataStore(dataAt);
  const variable = writeHeaders(headers, (data) => store.place(data));
  if (dataAt + store.size > 0xffff_ffff) throw new RangeError("the file would be larger than 4 GiB");
  const file = new Writer(dataAt + store.size)
    .u32(IGVM_MAGIC)
    .u32(version)
    .u32(fixedSize)
    .u32(headersSize)
    .u32(store.size === 0 ? fixedSize + headersSize : dataAt + store.size)
    .u32(0);
  if (version === 2) file.u32(architecture === "x64" ? 0 : 1).u32(pageSize);
  file.bytes(variable);
  file.setU32(20, crc32(file.finish()));
  if (store.size === 0) return file.finish();
  file.zeros(dataAt - fixedSize - headersSize);
  for (const data of store.pieces) file.bytes(data);
  return file.finish();
}

function checkData(header: AnyHeader, pageSize: number): void {
  if (header.type !== "pageData" && header.type !== "parameterArea") return;
  const size =
    header.type === "parameterArea"
      ? Number(header.size)
      : (header.flags & pageFlags.large) !== 0
        ? LARGE_PAGE
        : pageSize;
  if (header.data.length !== 0 && header.data.length !== size)
    throw new RangeError(`${header.type} takes ${size} bytes of data or none, not ${header.data.length}`);
}

function writeHeaders(headers: readonly AnyHeader[], place: (data: Uint8Array) => number): Uint8Array {
  const writer = new Writer();
  for (const header of headers) {
    const content = header.type === "unknown" ? header.content : contentOf(header, place);
    const code = header.type === "unknown" ? header.code : headerRows[header.type].code;
    const optional = header.type === "unknown" || header.optional === true;
    writer
      .u32((optional ? code | 0x8000_0000 : code) >>> 0)
      .u32(content.length)
      .bytes(content)
      .align(8);
  }
  return writer.finish();
}

function contentOf(header: Exclude<AnyHeader, { type: "unknown" }>, place: (data: Uint8Array) => number) {
  const values = header as unknown as Readonly<Record<string, number | bigint | Uint8Array>>;
  const data = (values["data"] ?? new Uint8Array()) as Uint8Array;
  const writer = new Writer();
  for (const [name, type] of headerRows[header.type].fields) {
    const value =
      name === "fileOffset"
        ? data.length === 0
          ? 0
          : place(data)
        : name === "fileSize"
          ? data.length
          : values[name];
    if (typeof type === "number") {
      const bytes = (value ?? new Uint8Array(type)) as Uint8Array;
      if (bytes.length !== type) throw new RangeError(`${header.type}.${name} takes ${type} bytes`);
      writer.bytes(bytes);
    } else if (type === "u64") writer.u64((value ?? 0n) as bigint);
    else writer[type](Number(value ?? 0));
  }
  return writer.finish();
}

/** The file's data, each piece once. */
class DataStore {
  readonly pieces: Uint8Array[] = [];
  size = 0;
  readonly #start: number;
  readonly #places = new Map<string, number>();

  constructor(start: number) {
    this.#start = start;
  }

  /** Where a piece lies in the file. */
  place(data: Uint8Array): number {
    const key = keyOf(data);
    const known = this.#places.get(key);
    if (known !== undefined) return known;
    const at = this.#start + this.size;
    this.#places.set(key, at);
    this.pieces.push(data);
    this.size += data.length;
    return at;
  }
}

/** The bytes as a key of a map: two to a character. */
function keyOf(data: Uint8Array): string {
  let key = `${data.length} `;
  for (let i = 0; i < data.length; i += 2) key += String.fromCharCode(data[i]! | ((data[i + 1] ?? 0) << 8));
  return key;
}
