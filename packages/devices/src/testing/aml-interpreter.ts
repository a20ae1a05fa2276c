/*
 * Reads and runs the machine language of a DSDT as an operating system would, apart from the writer that it tests: ACPI 6.5
 * chapter 20. It knows the terms that the tables use and stops at any other.
 */

export type AmlValue = number | string | Uint8Array | Reference | ElementReference | readonly AmlValue[];

/** A name inside a package: the path as the table has it. */
export interface Reference {
  readonly reference: string;
}

/** What Index gives: element `at` of a package. */
export interface ElementReference {
  readonly elements: readonly AmlValue[];
  readonly at: number;
}

interface AmlMethod {
  readonly kind: "method";
  readonly argumentCount: number;
  readonly serialized: boolean;
  readonly from: number;
  readonly to: number;
}
interface AmlRegion {
  readonly kind: "region";
  readonly space: number;
  readonly offset: number;
  readonly length: number;
}
/** Bits of a region; `bit` counts from the region's start. */
interface AmlField {
  readonly kind: "field";
  readonly region: string;
  readonly bit: number;
  readonly bits: number;
  /** Bits of an access to the region. */
  readonly unit: 8 | 32;
}
/** 32 bits of a buffer under a name. */
interface AmlBufferField {
  readonly kind: "buffer field";
  readonly bytes: Uint8Array;
  readonly at: number;
}
interface AmlDevice {
  readonly kind: "device";
}
interface AmlName {
  readonly kind: "name";
  value: AmlValue;
}
export type AmlObject = AmlMethod | AmlRegion | AmlField | AmlBufferField | AmlDevice | AmlName;

/** What an operation region reaches: byte `offset` of space `space`. */
export interface AmlHardware {
  read(space: number, offset: number, bytes: number): number;
  write(space: number, offset: number, value: number, bytes: number): void;
}

/** Where a method runs: its scope, arguments, locals and the names that it made. */
interface Frame {
  readonly scope: string;
  readonly args: AmlValue[];
  readonly locals: AmlValue[];
  readonly made: Map<string, AmlObject>;
  result: AmlValue | undefined;
}

const allOnes = 2 ** 32 - 1;

export class AmlNamespace {
  /** By path: "\\_SB_.PCI0._HID". */
  readonly objects = new Map<string, AmlObject>();
  readonly #bytes: Uint8Array;
  readonly #hardware: AmlHardware;
  #at = 0;

  /** `table`: a DSDT with its header. Throws for what it cannot read. */
  constructor(table: Uint8Array, hardware: AmlHardware = { read: () => 0, write() {} }) {
    this.#bytes = table;
    this.#hardware = hardware;
    this.#at = 36;
    this.#readTerms("\\", table.length);
  }

  /** Paths of the devices below `path`. */
  devices(path: string): string[] {
    return [...this.objects]
      .filter(([at, { kind }]) => kind === "device" && at.slice(0, at.lastIndexOf(".")) === path)
      .map(([at]) => at);
  }

  /** The value of a name or field, or what a method returns. */
  evaluate(path: string, ...args: AmlValue[]): AmlValue {
    const object = this.objects.get(path);
    if (object === undefined) throw new Error(`AML: nothing at ${path}`);
    if (object.kind !== "method") return this.#valueOf(object);
    if (args.length !== object.argumentCount) throw new Error(`AML: ${path} takes ${object.argumentCount}`);
    const frame: Frame = { scope: path, args, locals: [], made: new Map(), result: undefined };
    this.#at = object.from;
    this.#run(frame, object.to);
    if (frame.made.size > 0 && !object.serialized) throw new Error(`AML: ${path} makes names unserialized`);
    return frame.result ?? 0;
  }

  // --- Bytes ----------------------------------------------------------------------------------------------------------

  #byte(): number {
    if (this.#at >= this.#bytes.length) throw new Error("AML: the table ends in the middle of a term");
    return this.#bytes[this.#at++]!;
  }

  #integer(bytes: number): number {
    let value = 0;
    for (let i = 0; i < bytes; i++) value += this.#byte() * 2 ** (8 * i);
    return value;
  }

  #length(): number {
    const lead = this.#byte();
    if (lead >> 6 === 0) return lead & 0x3f;
    return (lead & 0xf) + this.#integer(lead >> 6) * 16;
  }

  #end(): number {
    const from = this.#at;
    return from + this.#length();
  }

  #segment(): string {
    const text = String.fromCharCode(...[0, 1, 2, 3].map(() => this.#byte()));
    if (!/^[A-Z_][A-Z0-9_]{3}$/.test(text)) throw new Error(`AML: no name segment: ${text}`);
    return text;
  }

  /** A name as written: with its prefix, segments joined by dots. */
  #path(): string {
    let prefix = "";
    while (this.#bytes[this.#at] === 0x5c || this.#bytes[this.#at] === 0x5e)
      prefix += String.fromCharCode(this.#byte());
    let count = 1;
    if (this.#bytes[this.#at] === 0x00) count = this.#byte();
    else if (this.#bytes[this.#at] === 0x2e) count = 2 * (this.#byte() === 0x2e ? 1 : 0);
    else if (this.#bytes[this.#at] === 0x2f) {
      this.#byte();
      count = this.#byte();
    }
    return prefix + Array.from({ length: count }, () => this.#segment()).join(".");
  }

  // --- Namespace ------------------------------------------------------------------------------------------------------

  #readTerms(scope: string, end: number): void {
    while (this.#at < end) this.#readTerm(scope);
    if (this.#at !== end) throw new Error(`AML: a term of ${scope} runs over its end`);
  }

  #readTerm(scope: string): void {
    const opcode = this.#byte();
    switch (opcode) {
      case 0x08: {
        const path = join(scope, this.#path());
        this.#define(path, { kind: "name", value: this.#data() });
        return;
      }
      case 0x10: {
        const end = this.#end();
        this.#readTerms(join(scope, this.#path()), end);
        return;
      }
      case 0x14: {
        const end = this.#end();
        const path = join(scope, this.#path());
        const flags = this.#byte();
        this.#define(path, {
          kind: "method",
          argumentCount: flags & 7,
          serialized: (flags & 8) !== 0,
          from: this.#at,
          to: end,
        });
        this.#at = end;
        return;
      }
      case 0x5b:
        this.#readExtended(scope);
        return;
      default:
        throw new Error(`AML: opcode 0x${opcode.toString(16)} in ${scope}`);
    }
  }

  #readExtended(scope: string): void {
    const opcode = this.#byte();
    if (opcode === 0x80) {
      const path = join(scope, this.#path());
      const space = this.#byte();
      const [offset, length] = [this.#number(), this.#number()];
      this.#define(path, { kind: "region", space, offset, length });
      return;
    }
    const end = this.#end();
    if (opcode === 0x82) {
      const path = join(scope, this.#path());
      this.#define(path, { kind: "device" });
      this.#readTerms(path, end);
      return;
    }
    if (opcode !== 0x81) throw new Error(`AML: opcode 0x5b 0x${opcode.toString(16)} in ${scope}`);
    const region = join(scope, this.#path());
    // ByteAcc or DWordAcc, NoLock, Preserve.
    const flags = this.#byte();
    if (flags !== 0x01 && flags !== 0x03) throw new Error(`AML: field over ${region} with other flags`);
    const unit = flags === 0x01 ? 8 : 32;
    let bit = 0;
    while (this.#at < end) {
      const named = this.#bytes[this.#at] !== 0;
      const name = named ? this.#segment() : undefined;
      if (!named) this.#byte();
      const bits = this.#length();
      if (name !== undefined) this.#define(join(scope, name), { kind: "field", region, bit, bits, unit });
      bit += bits;
    }
    const { length } = this.objects.get(region) as AmlRegion;
    if (bit > 8 * length) throw new Error(`AML: fields of ${region} run over it`);
  }

  #define(path: string, object: AmlObject): void {
    if (this.objects.has(path)) throw new Error(`AML: ${path} twice`);
    this.objects.set(path, object);
  }

  #number(): number {
    const value = this.#data();
    if (typeof value !== "number") throw new Error("AML: an integer is wanted");
    return value;
  }

  #data(): AmlValue {
    const opcode = this.#byte();
    switch (opcode) {
      case 0x00:
      case 0x01:
        return opcode;
      case 0x0a:
        return this.#integer(1);
      case 0x0b:
        return this.#integer(2);
      case 0x0c:
        return this.#integer(4);
      case 0x0e:
        return this.#integer(8);
      case 0x0d: {
        let text = "";
        for (let c = this.#byte(); c !== 0; c = this.#byte()) text += String.fromCharCode(c);
        return text;
      }
      case 0x11: {
        const end = this.#end();
        const length = this.#number();
        const bytes = this.#bytes.slice(this.#at, end);
        if (bytes.length !== length) throw new Error("AML: a buffer that is not filled");
        this.#at = end;
        return bytes;
      }
      case 0x12: {
        const end = this.#end();
        const elements = Array.from({ length: this.#byte() }, () => this.#element());
        if (this.#at !== end) throw new Error("AML: a package that is longer or shorter than it says");
        return elements;
      }
      default:
        throw new Error(`AML: opcode 0x${opcode.toString(16)} is no data`);
    }
  }

  #element(): AmlValue {
    const next = this.#bytes[this.#at]!;
    const isName = next === 0x5c || next === 0x5e || next === 0x2e || next === 0x2f || next >= 0x41;
    return isName ? { reference: this.#path() } : this.#data();
  }

  // --- Methods --------------------------------------------------------------------------------------------------------

  #run(frame: Frame, end: number): void {
    while (this.#at < end && frame.result === undefined) {
      const opcode = this.#bytes[this.#at]!;
      if (opcode === 0xa4) {
        this.#byte();
        frame.result = this.#term(frame);
      } else if (opcode === 0xa0) this.#choose(frame, end);
      else this.#term(frame);
    }
    this.#at = end;
  }

  #choose(frame: Frame, end: number): void {
    this.#byte();
    const stop = this.#end();
    const taken = this.#term(frame) !== 0;
    if (taken) this.#run(frame, stop);
    this.#at = stop;
    if (this.#at >= end || this.#bytes[this.#at] !== 0xa1) return;
    this.#byte();
    const last = this.#end();
    if (!taken) this.#run(frame, last);
    this.#at = last;
  }

  /** Runs one term and gives its value. */
  #term(frame: Frame): AmlValue {
    const opcode = this.#bytes[this.#at]!;
    if (opcode >= 0x60 && opcode <= 0x6e) return this.#variable(frame);
    switch (opcode) {
      case 0x08: {
        this.#byte();
        const path = join(frame.scope, this.#path());
        frame.made.set(path, { kind: "name", value: this.#data() });
        return 0;
      }
      case 0x70: {
        this.#byte();
        const value = this.#term(frame);
        this.#storeTo(frame, value);
        return value;
      }
      case 0x7b:
      case 0x7d: {
        this.#byte();
        const [a, b] = [this.#term(frame) as number, this.#term(frame) as number];
        const value = (opcode === 0x7b ? a & b : a | b) >>> 0;
        this.#storeTo(frame, value);
        return value;
      }
      case 0x83:
        this.#byte();
        return this.#dereferenced(this.#term(frame));
      case 0x87:
        this.#byte();
        return (this.#term(frame) as readonly AmlValue[]).length;
      case 0x88:
        return this.#indexed(frame);
      case 0x94: {
        this.#byte();
        const [a, b] = [this.#term(frame), this.#term(frame)];
        return a > b ? allOnes : 0;
      }
      case 0x8a: {
        this.#byte();
        const bytes = this.#term(frame) as Uint8Array;
        const at = this.#number();
        frame.made.set(join(frame.scope, this.#path()), { kind: "buffer field", bytes, at });
        return 0;
      }
      case 0x92:
        this.#byte();
        return this.#term(frame) === 0 ? allOnes : 0;
      case 0x93: {
        this.#byte();
        const [a, b] = [this.#term(frame), this.#term(frame)];
        return same(a, b) ? allOnes : 0;
      }
      default:
        if (opcode === 0x5c || opcode === 0x5e || opcode === 0x2e || opcode === 0x2f || opcode >= 0x41)
          if (opcode <= 0x5f) return this.#valueOf(this.#find(frame, this.#path()));
        return this.#data();
    }
  }

  /** Index into a package, its result kept nowhere else. */
  #indexed(frame: Frame): ElementReference {
    this.#byte();
    const [elements, at] = [this.#term(frame), this.#term(frame)];
    if (this.#byte() !== 0x00) throw new Error("AML: an index that is stored");
    if (!Array.isArray(elements) || typeof at !== "number" || at >= elements.length)
      throw new Error("AML: no such element");
    return { elements, at };
  }

  #dereferenced(value: AmlValue): AmlValue {
    if (typeof value !== "object" || !("elements" in value))
      throw new Error("AML: no reference to an element");
    return value.elements[value.at]!;
  }

  #variable(frame: Frame): AmlValue {
    const opcode = this.#byte();
    const value = opcode >= 0x68 ? frame.args[opcode - 0x68] : frame.locals[opcode - 0x60];
    if (value === undefined) throw new Error("AML: a variable without a value");
    return value;
  }

  #storeTo(frame: Frame, value: AmlValue): void {
    const opcode = this.#bytes[this.#at]!;
    if (opcode === 0x00) this.#byte();
    else if (opcode >= 0x60 && opcode <= 0x67) frame.locals[this.#byte() - 0x60] = value;
    else if (opcode >= 0x68 && opcode <= 0x6e) frame.args[this.#byte() - 0x68] = value;
    else if (opcode === 0x88) {
      const { elements, at } = this.#indexed(frame);
      (elements as AmlValue[])[at] = value;
    } else this.#assign(this.#find(frame, this.#path()), value);
  }

  /** ACPI 5.3: a single segment is looked for in the scope and all those around it. */
  #find(frame: Frame, path: string): AmlObject {
    for (let scope = frame.scope; ; scope = parent(scope)) {
      const at = join(scope, path);
      const object = frame.made.get(at) ?? this.objects.get(at);
      if (object !== undefined) return object;
      if (scope === "\\" || path.startsWith("\\")) throw new Error(`AML: ${path} is not to be found`);
    }
  }

  #valueOf(object: AmlObject): AmlValue {
    switch (object.kind) {
      case "name":
        return object.value;
      case "buffer field":
        return new DataView(object.bytes.buffer, object.bytes.byteOffset).getUint32(object.at, true);
      case "field": {
        const { space, at } = this.#place(object);
        return this.#hardware.read(space, at, object.unit / 8);
      }
      default:
        throw new Error(`AML: a ${object.kind} has no value`);
    }
  }

  #assign(object: AmlObject, value: AmlValue): void {
    if (object.kind === "name") object.value = value;
    else if (object.kind === "buffer field")
      new DataView(object.bytes.buffer, object.bytes.byteOffset).setUint32(object.at, value as number, true);
    else if (object.kind === "field") {
      const { space, at } = this.#place(object);
      const bytes = object.unit / 8;
      this.#hardware.write(space, at, bytes === 1 ? (value as number) & 0xff : (value as number), bytes);
    } else throw new Error(`AML: a ${object.kind} cannot be assigned`);
  }

  /** Fields of one access only. */
  #place({ region, bit, bits, unit }: AmlField): { space: number; at: number } {
    if (bit % unit !== 0 || bits !== unit) throw new Error("AML: a field that is not one access");
    const { space, offset } = this.objects.get(region) as AmlRegion;
    return { space, at: offset + bit / 8 };
  }
}

function join(scope: string, path: string): string {
  if (path.startsWith("\\")) return path;
  return scope === "\\" ? `\\${path}` : `${scope}.${path}`;
}

function parent(scope: string): string {
  const dot = scope.lastIndexOf(".");
  return dot < 0 ? "\\" : scope.slice(0, dot);
}

function same(a: AmlValue, b: AmlValue): boolean {
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b) === 0;
  return a === b;
}
