import type { ByteRange, Finding } from "./finding.ts";
import { type FieldRow, type Layout, sizeOf } from "./layout.ts";

/** Where a field lies, and what it is. */
export interface MappedField extends ByteRange {
  /** Names from the outermost structure inwards, joined by dots. */
  readonly path: string;
  /** Document and clause. */
  readonly spec: string;
  readonly what: string;
  readonly reserved: boolean;
}

interface LaidOut {
  readonly prefix: string;
  readonly layout: Layout;
  readonly at: number;
  readonly version: number;
}

/**
 * The byte range of every field of evidence that was parsed, for explanations. Parts are noted while parsing; their fields are listed
 * when somebody looks.
 */
export class ByteMap {
  readonly #parts: (LaidOut | MappedField)[] = [];
  #fields: Map<string, MappedField> | undefined;

  /** Notes the structure of `layout` at `at`. `prefix` goes before the fields' names and ends in a dot, or is empty. */
  structure(prefix: string, layout: Layout, at: number, version = Number.POSITIVE_INFINITY): this {
    this.#parts.push({ prefix, layout, at, version });
    this.#fields = undefined;
    return this;
  }

  /** Notes one field. */
  field(path: string, offset: number, length: number, spec: string, what: string): this {
    this.#parts.push({ path, offset, length, spec, what, reserved: false });
    this.#fields = undefined;
    return this;
  }

  #all(): Map<string, MappedField> {
    if (this.#fields !== undefined) return this.#fields;
    const fields = new Map<string, MappedField>();
    const walk = ({ prefix, layout, at, version }: LaidOut) => {
      const rows: readonly FieldRow[] = layout.rows;
      for (const row of rows) {
        const path = `${prefix}${row.name}`;
        const offset = at + row.offset;
        if (typeof row.type === "object") walk({ prefix: `${path}.`, layout: row.type, at: offset, version });
        else {
          fields.set(path, {
            path,
            offset,
            length: sizeOf(row.type),
            spec: `${layout.spec}, ${row.clause}`,
            what: row.what,
            reserved: row.reserved === true || (row.since ?? 0) > version,
          });
        }
      }
    };
    for (const part of this.#parts) {
      if ("layout" in part) walk(part);
      else fields.set(part.path, part);
    }
    this.#fields = fields;
    return fields;
  }

  /** The field of a path. */
  get(path: string): MappedField | undefined {
    return this.#all().get(path);
  }

  /** The smallest field that holds the byte at `offset`. */
  at(offset: number): MappedField | undefined {
    let smallest: MappedField | undefined;
    for (const field of this.#all().values()) {
      if (offset < field.offset || offset >= field.offset + field.length) continue;
      if (smallest === undefined || field.length < smallest.length) smallest = field;
    }
    return smallest;
  }

  /** All fields, in the order in which they were parsed. */
  [Symbol.iterator](): IterableIterator<MappedField> {
    return this.#all().values();
  }
}

/**
 * What every parser of this package gives besides its value. Values are views of the input, which must not change while they are in
 * use: who judges bytes that somebody else can still write to copies them first.
 */
export interface Parsed {
  /** What was parsed, without what lies behind it: a view of the input. */
  readonly bytes: Uint8Array;
  /** Offsets are from the beginning of the parser's input. */
  readonly map: ByteMap;
  readonly findings: readonly Finding[];
}
