import { MalformedError, Writer } from "@entresol/wire";

/*
 * CBOR items as COSE and CoRIM have them: integer keys, tags, byte strings. Whoever signs such bytes wants them read in one way only:
 * a key that stands twice, a length that is left open and a simple value that nobody uses are refused.
 */

const spec = "RFC 8949";

/** Integers outside of +-2^53 are bigint, all others number. Byte strings that were read are views of the input. */
export type CborItem =
  | number
  | bigint
  | string
  | boolean
  | null
  | undefined
  | Uint8Array
  | readonly CborItem[]
  | CborMap
  | CborTag;
export type CborKey = number | string;
export type CborMap = ReadonlyMap<CborKey, CborItem>;

/** A tagged item (RFC 8949 3.4). */
export class CborTag {
  readonly tag: number;
  readonly item: CborItem;

  constructor(tag: number, item: CborItem) {
    this.tag = tag;
    this.item = item;
  }
}

export interface CborReadOptions {
  /** Refuses what is not encoded deterministically (RFC 8949 4.2.1): heads that could be shorter, keys out of order, floating point. */
  readonly deterministic?: boolean;
  /** Most items, arrays and maps counted with what is in them. Default: 100,000. */
  readonly mostItems?: number;
  /** Deepest nesting. Default: 32. */
  readonly depth?: number;
}

const types = { unsigned: 0, negative: 1, bytes: 2, text: 3, array: 4, map: 5, tag: 6, simple: 7 } as const;

/** Reads one item that fills `bytes`. Throws MalformedError for anything else. */
export function readCbor(bytes: Uint8Array, options: CborReadOptions = {}): CborItem {
  const reader = new ItemReader(bytes, options);
  const item = reader.item(0);
  if (reader.at !== bytes.length)
    throw new MalformedError(
      "trailing-bytes",
      reader.at,
      spec,
      `${bytes.length - reader.at} bytes follow the item`,
    );
  return item;
}

class ItemReader {
  at = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #deterministic: boolean;
  readonly #depth: number;
  #left: number;

  constructor(
    bytes: Uint8Array,
    { deterministic = false, mostItems = 100_000, depth = 32 }: CborReadOptions,
  ) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#deterministic = deterministic;
    this.#left = mostItems;
    this.#depth = depth;
  }

  #refuse(code: MalformedError["code"], at: number, message: string): never {
    throw new MalformedError(code, at, spec, message);
  }

  #take(length: number): number {
    const at = this.at;
    if (length > this.#bytes.length - at)
      this.#refuse("truncated", at, `needs ${length} bytes, ${this.#bytes.length - at} left`);
    this.at = at + length;
    return at;
  }

  /** The argument of a head (RFC 8949 3). */
  #argument(information: number, head: number): number | bigint {
    if (information < 24) return information;
    if (information > 27)
      this.#refuse(
        "bad-value",
        head,
        information === 31 ? "a length is left open" : `a head ends in ${information}`,
      );
    const size = 1 << (information - 24);
    const at = this.#take(size);
    const value =
      size === 8
        ? this.#view.getBigUint64(at)
        : size === 4
          ? this.#view.getUint32(at)
          : size === 2
            ? this.#view.getUint16(at)
            : this.#view.getUint8(at);
    if (this.#deterministic && value < shortest[information - 24]!)
      this.#refuse("bad-value", head, `${value} has a shorter encoding`);
    return typeof value === "bigint" && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
  }

  #length(information: number, head: number): number {
    const length = this.#argument(information, head);
    if (typeof length === "bigint" || length > this.#bytes.length - this.at)
      this.#refuse("truncated", head, `a length of ${length} goes past the end`);
    return length;
  }

  item(depth: number): CborItem {
    const head = this.at;
    if (depth > this.#depth)
      this.#refuse("out-of-range", head, `items are nested deeper than ${this.#depth}`);
    if (--this.#left < 0) this.#refuse("out-of-range", head, "there are too many items");
    const initial = this.#bytes[this.#take(1)]!;
    const information = initial & 0x1f;
    switch (initial >> 5) {
      case types.unsigned:
        return this.#argument(information, head);
      case types.negative: {
        const value = this.#argument(information, head);
        return typeof value === "number" && value < Number.MAX_SAFE_INTEGER
          ? -1 - value
          : -1n - BigInt(value);
      }
      case types.bytes: {
        const length = this.#length(information, head);
        const at = this.#take(length);
        return this.#bytes.subarray(at, at + length);
      }
      case types.text: {
        const length = this.#length(information, head);
        const at = this.#take(length);
        return this.#text(this.#bytes.subarray(at, at + length), at);
      }
      case types.array: {
        const length = this.#length(information, head);
        const items: CborItem[] = [];
        for (let i = 0; i < length; i++) items.push(this.item(depth + 1));
        return items;
      }
      case types.map:
        return this.#map(this.#length(information, head), depth);
      case types.tag: {
        const tag = this.#argument(information, head);
        if (typeof tag === "bigint") this.#refuse("out-of-range", head, `the tag ${tag} is not known`);
        return new CborTag(tag, this.item(depth + 1));
      }
      default:
        return this.#simple(information, head);
    }
  }

  #text(bytes: Uint8Array, at: number): string {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      this.#refuse("bad-value", at, "a text is not UTF-8");
    }
  }

  #map(length: number, depth: number): CborMap {
    const map = new Map<CborKey, CborItem>();
    let before: Uint8Array | undefined;
    for (let i = 0; i < length; i++) {
      const at = this.at;
      const key = this.item(depth + 1);
      if (typeof key !== "number" && typeof key !== "string")
        this.#refuse("bad-value", at, "a key is neither a number nor a text");
      if (map.has(key)) this.#refuse("bad-value", at, `the key ${JSON.stringify(key)} stands twice`);
      const bytes = this.#bytes.subarray(at, this.at);
      if (this.#deterministic && before !== undefined && compareBytes(before, bytes) > 0)
        this.#refuse("bad-value", at, "the keys are not in order");
      before = bytes;
      map.set(key, this.item(depth + 1));
    }
    return map;
  }

  #simple(information: number, head: number): CborItem {
    switch (information) {
      case 20:
        return false;
      case 21:
        return true;
      case 22:
        return null;
      case 23:
        return undefined;
      case 25:
      case 26:
      case 27:
        return this.#float(information, head);
      default:
        this.#refuse("bad-value", head, `the simple value ${information} is not known`);
    }
  }

  #float(information: number, head: number): number {
    if (this.#deterministic) this.#refuse("bad-value", head, "floating point has several encodings");
    const at = this.#take(1 << (information - 24));
    if (information === 27) return this.#view.getFloat64(at);
    if (information === 26) return this.#view.getFloat32(at);
    const half = this.#view.getUint16(at);
    const exponent = (half >> 10) & 0x1f;
    const fraction = half & 0x3ff;
    const size =
      exponent === 0
        ? fraction * 2 ** -24
        : exponent === 31
          ? fraction === 0
            ? Number.POSITIVE_INFINITY
            : Number.NaN
          : (1024 + fraction) * 2 ** (exponent - 25);
    return (half & 0x8000) === 0 ? size : -size;
  }
}

/** Below these the argument fits a shorter head. */
const shortest = [24, 0x100, 0x1_0000, 0x1_0000_0000] as const;

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return a.length - b.length;
}

/** The deterministic encoding (RFC 8949 4.2.1). Throws RangeError for a number that is no integer: floating point is not written. */
export function writeCbor(item: CborItem): Uint8Array {
  const writer = new Writer();
  writeItem(writer, item);
  return writer.finish();
}

function writeItem(writer: Writer, item: CborItem): void {
  if (typeof item === "number" || typeof item === "bigint") {
    if (typeof item === "number" && !Number.isSafeInteger(item))
      throw new RangeError(`${item} is not an integer that a number holds`);
    if (item >= 0) writeHead(writer, types.unsigned, item);
    else writeHead(writer, types.negative, typeof item === "number" ? -1 - item : -1n - item);
  } else if (typeof item === "string") {
    const text = new TextEncoder().encode(item);
    writeHead(writer, types.text, text.length);
    writer.bytes(text);
  } else if (typeof item === "boolean") {
    writer.u8(item ? 0xf5 : 0xf4);
  } else if (item === null) {
    writer.u8(0xf6);
  } else if (item === undefined) {
    writer.u8(0xf7);
  } else if (item instanceof Uint8Array) {
    writeHead(writer, types.bytes, item.length);
    writer.bytes(item);
  } else if (item instanceof CborTag) {
    writeHead(writer, types.tag, item.tag);
    writeItem(writer, item.item);
  } else if (isMap(item)) {
    writeHead(writer, types.map, item.size);
    const entries = [...item].map(([key, value]) => [writeCbor(key), value] as const);
    entries.sort(([a], [b]) => compareBytes(a, b));
    for (const [key, value] of entries) {
      writer.bytes(key);
      writeItem(writer, value);
    }
  } else {
    writeHead(writer, types.array, item.length);
    for (const element of item) writeItem(writer, element);
  }
}

/** Whether an item is a map. */
export function isMap(item: CborItem): item is CborMap {
  return item instanceof Map;
}

function writeHead(writer: Writer, type: number, argument: number | bigint): void {
  const head = type << 5;
  if (argument < 24) {
    writer.u8(head | Number(argument));
    return;
  }
  const size = shortest.findLastIndex((least) => argument >= least);
  writer.u8(head | (24 + size));
  // Big-endian, unlike everything else that a Writer writes.
  const value = BigInt(argument);
  if (BigInt.asUintN(64, value) !== value) throw new RangeError(`${value} has more than 64 bits`);
  for (let shift = 8 * ((1 << size) - 1); shift >= 0; shift -= 8)
    writer.u8(Number((value >> BigInt(shift)) & 0xffn));
}
