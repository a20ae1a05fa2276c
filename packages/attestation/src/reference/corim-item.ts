import { toHex } from "@entresol/wire";
import { EvidenceError } from "../errors.ts";
import { type CborItem, type CborMap, CborTag, isMap } from "./cbor-item.ts";
import { corimSpec } from "./corim.ts";

/** An item of a manifest with the path to it, so that what is wrong can be said with its place. */
export class CorimItem {
  readonly item: CborItem;
  readonly path: string;

  constructor(item: CborItem, path = "") {
    this.item = item;
    this.path = path;
  }

  refuse(message: string): never {
    throw new EvidenceError(
      "bad-input",
      `the manifest does not hold at ${this.path || "/"}: ${message} (${corimSpec})`,
    );
  }

  /** The item of a tag. */
  tagged(tag: number): CorimItem {
    const { item } = this;
    if (!(item instanceof CborTag) || item.tag !== tag) this.refuse(`there is no item with the tag ${tag}`);
    return new CorimItem(item.item, `${this.path}/#${tag}`);
  }

  get tag(): number | undefined {
    return this.item instanceof CborTag ? this.item.tag : undefined;
  }

  map(): CborMap {
    return isMap(this.item) ? this.item : this.refuse("there is no map");
  }

  get(key: number): CorimItem | undefined {
    const map = this.map();
    return map.has(key) ? new CorimItem(map.get(key), `${this.path}/${key}`) : undefined;
  }

  need(key: number): CorimItem {
    return this.get(key) ?? this.refuse(`the member ${key} is missing`);
  }

  list(): readonly CorimItem[] {
    const { item } = this;
    if (!Array.isArray(item)) this.refuse("there is no array");
    return (item as readonly CborItem[]).map((one, i) => new CorimItem(one, `${this.path}/${i}`));
  }

  bytes(): Uint8Array {
    return this.item instanceof Uint8Array ? this.item : this.refuse("there is no byte string");
  }

  text(): string {
    return typeof this.item === "string" ? this.item : this.refuse("there is no text");
  }

  /** A whole number from zero up to 2^53. */
  count(): number {
    return typeof this.item === "number" && this.item >= 0 && Number.isSafeInteger(this.item)
      ? this.item
      : this.refuse("there is no whole number");
  }

  /** An identifier: text as it is, everything else in hexadecimal, whatever its tag. */
  identifier(): string {
    const item = this.item instanceof CborTag ? this.item.item : this.item;
    if (typeof item === "string") return item;
    return item instanceof Uint8Array ? toHex(item) : this.refuse("there is no identifier");
  }
}
