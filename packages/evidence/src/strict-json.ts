import { MalformedError } from "@entresol/wire";

/*
 * JSON that is signed or hashed (RFC 8259), read as I-JSON (RFC 7493): two readers of the same bytes must see the same value. Names are
 * unique, text is UTF-8 without lone surrogates, and every value knows its bytes.
 */

const spec = "RFC 8259";
const iJson = "RFC 7493";

interface JsonBase {
  /** First byte of the value, from the beginning of the input. */
  readonly offset: number;
  /** First byte behind it. */
  readonly end: number;
}
export interface JsonObject extends JsonBase {
  readonly kind: "object";
  readonly members: ReadonlyMap<string, JsonNode>;
  /** The member of this name. */
  get(name: string): JsonNode | undefined;
}
export interface JsonArray extends JsonBase {
  readonly kind: "array";
  readonly items: readonly JsonNode[];
}
export interface JsonString extends JsonBase {
  readonly kind: "string";
  readonly value: string;
}
export interface JsonNumber extends JsonBase {
  readonly kind: "number";
  readonly value: number;
}
export interface JsonBoolean extends JsonBase {
  readonly kind: "boolean";
  readonly value: boolean;
}
export interface JsonNull extends JsonBase {
  readonly kind: "null";
}
export type JsonNode = JsonObject | JsonArray | JsonString | JsonNumber | JsonBoolean | JsonNull;
export type JsonKind = JsonNode["kind"];
export type JsonOf<K extends JsonKind> = Extract<JsonNode, { readonly kind: K }>;

export interface JsonLimits {
  /** Objects and arrays within each other. */
  readonly depth: number;
  /** Values in all. */
  readonly nodes: number;
}
export const defaultJsonLimits: JsonLimits = { depth: 32, nodes: 100_000 };

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const escapes = new Map<number, string>([
  [QUOTE, '"'],
  [BACKSLASH, "\\"],
  [0x2f, "/"],
  [0x62, "\b"],
  [0x66, "\f"],
  [0x6e, "\n"],
  [0x72, "\r"],
  [0x74, "\t"],
]);
/** Up to so many members are searched one by one, which is cheaper than a map. */
const FEW = 16;

/** Members as they were read. The map is made when somebody asks for it: signed documents have hundreds of objects of one member. */
class ReadObject implements JsonObject {
  readonly kind = "object";
  readonly offset: number;
  readonly end: number;
  readonly #names: readonly string[];
  readonly #nodes: readonly JsonNode[];
  #map: ReadonlyMap<string, JsonNode> | undefined;

  constructor(
    offset: number,
    end: number,
    names: readonly string[],
    nodes: readonly JsonNode[],
    map: ReadonlyMap<string, JsonNode> | undefined,
  ) {
    this.offset = offset;
    this.end = end;
    this.#names = names;
    this.#nodes = nodes;
    this.#map = map;
  }
  get(name: string): JsonNode | undefined {
    if (this.#map !== undefined) return this.#map.get(name);
    const at = this.#names.indexOf(name);
    return at < 0 ? undefined : this.#nodes[at];
  }
  get members(): ReadonlyMap<string, JsonNode> {
    this.#map ??= mapOf(this.#names, this.#nodes);
    return this.#map;
  }
}

function mapOf(names: readonly string[], nodes: readonly JsonNode[]): Map<string, JsonNode> {
  const map = new Map<string, JsonNode>();
  for (let i = 0; i < names.length; i++) map.set(names[i] as string, nodes[i] as JsonNode);
  return map;
}

const none: readonly never[] = [];

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Undefined when any byte is above 0x7f. */
function asciiText(bytes: Uint8Array): string | undefined {
  try {
    const text = utf8.decode(bytes);
    return text.length === bytes.length ? text : undefined;
  } catch {
    return undefined;
  }
}

const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= 0x30 && byte <= 0x39;

class JsonParser {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  readonly #limits: JsonLimits;
  /** The input as text, when it is ASCII and bytes are characters: slices of it cost nothing. */
  readonly #text: string | undefined;
  readonly #base: number;
  #at: number;
  #depth = 0;
  #nodes = 0;

  constructor(bytes: Uint8Array, at: number, end: number, limits: JsonLimits) {
    this.#bytes = bytes;
    this.#at = at;
    this.#base = at;
    this.#end = end;
    this.#limits = limits;
    this.#text = asciiText(bytes.subarray(at, end));
  }

  /** The text from `from` to where the parser is. */
  #slice(from: number): string {
    if (this.#text !== undefined) return this.#text.slice(from - this.#base, this.#at - this.#base);
    try {
      return utf8.decode(this.#bytes.subarray(from, this.#at));
    } catch {
      throw this.#fail("text that is not UTF-8", from, `${spec}, 8.1`);
    }
  }

  #fail(message: string, at = this.#at, clause = spec): MalformedError {
    return at >= this.#end
      ? new MalformedError("truncated", this.#end, clause, `JSON ends: ${message}`)
      : new MalformedError("bad-value", at, clause, message);
  }

  #peek(): number | undefined {
    return this.#at < this.#end ? this.#bytes[this.#at] : undefined;
  }

  #space(): void {
    for (;;) {
      const byte = this.#peek();
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return;
      this.#at++;
    }
  }

  whole(): JsonNode {
    this.#space();
    const node = this.#value();
    this.#space();
    if (this.#at < this.#end)
      throw new MalformedError("trailing-bytes", this.#at, spec, "something stands behind the JSON value");
    return node;
  }

  #value(): JsonNode {
    if (++this.#nodes > this.#limits.nodes) throw this.#fail(`more than ${this.#limits.nodes} values`);
    const offset = this.#at;
    const byte = this.#peek();
    switch (byte) {
      case 0x7b:
        return this.#object(offset);
      case 0x5b:
        return this.#array(offset);
      case QUOTE: {
        const value = this.#string();
        return { kind: "string", value, offset, end: this.#at };
      }
      case 0x74:
        this.#word("true");
        return { kind: "boolean", value: true, offset, end: this.#at };
      case 0x66:
        this.#word("false");
        return { kind: "boolean", value: false, offset, end: this.#at };
      case 0x6e:
        this.#word("null");
        return { kind: "null", offset, end: this.#at };
      default:
        if (byte === 0x2d || isDigit(byte)) return this.#number(offset);
        throw this.#fail("no JSON value begins here");
    }
  }

  #enter(): void {
    if (++this.#depth > this.#limits.depth) throw this.#fail(`deeper than ${this.#limits.depth}`);
    this.#at++;
  }

  #object(offset: number): JsonObject {
    this.#enter();
    this.#space();
    if (this.#peek() === 0x7d) {
      this.#at++;
      this.#depth--;
      return new ReadObject(offset, this.#at, none, none, undefined);
    }
    // Most have one member: a list that is pushed to takes room for many.
    const names = [this.#name()];
    const nodes = [this.#value()];
    let map: Map<string, JsonNode> | undefined;
    while (this.#another(0x7d)) {
      this.#space();
      const nameAt = this.#at;
      const name = this.#name();
      // The last one wins for most readers, the first for some: a signer may have meant either.
      if (map === undefined ? names.includes(name) : map.has(name))
        throw this.#fail(`the name ${JSON.stringify(name)} stands there twice`, nameAt, `${iJson}, 2.3`);
      const node = this.#value();
      names.push(name);
      nodes.push(node);
      if (map !== undefined) map.set(name, node);
      else if (names.length > FEW) map = mapOf(names, nodes);
    }
    this.#depth--;
    return new ReadObject(offset, this.#at, names, nodes, map);
  }

  /** A member's name, and what goes before its value. */
  #name(): string {
    if (this.#peek() !== QUOTE) throw this.#fail("a name must stand here");
    const name = this.#string();
    this.#space();
    if (this.#peek() !== 0x3a) throw this.#fail("a colon must stand here");
    this.#at++;
    this.#space();
    return name;
  }

  #array(offset: number): JsonArray {
    const items: JsonNode[] = [];
    this.#enter();
    this.#space();
    if (this.#peek() === 0x5d) this.#at++;
    else {
      do {
        this.#space();
        items.push(this.#value());
      } while (this.#another(0x5d));
    }
    this.#depth--;
    return { kind: "array", items, offset, end: this.#at };
  }

  /** Takes a comma, or the end of what is being read. */
  #another(closing: number): boolean {
    this.#space();
    const byte = this.#peek();
    if (byte !== 0x2c && byte !== closing) throw this.#fail("a comma or the end must stand here");
    this.#at++;
    return byte === 0x2c;
  }

  #word(word: string): void {
    for (let i = 0; i < word.length; i++, this.#at++)
      if (this.#peek() !== word.charCodeAt(i)) throw this.#fail(`not ${word}`);
  }

  #number(offset: number): JsonNumber {
    const small = this.#smallNumber();
    if (small >= 0) return { kind: "number", value: small, offset, end: this.#at };
    const digits = () => {
      if (!isDigit(this.#peek())) throw this.#fail("a digit must stand here");
      while (isDigit(this.#peek())) this.#at++;
    };
    if (this.#peek() === 0x2d) this.#at++;
    if (this.#peek() === 0x30) {
      this.#at++;
      if (isDigit(this.#peek())) throw this.#fail("a number begins with 0");
    } else digits();
    if (this.#peek() === 0x2e) {
      this.#at++;
      digits();
    }
    if (this.#peek() === 0x65 || this.#peek() === 0x45) {
      this.#at++;
      if (this.#peek() === 0x2b || this.#peek() === 0x2d) this.#at++;
      digits();
    }
    const value = Number(this.#slice(offset));
    // Beyond these, readers differ in what they make of the digits.
    if (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value)))
      throw this.#fail("a number that 64-bit floating point does not hold", offset, `${iJson}, 2.2`);
    return { kind: "number", value, offset, end: this.#at };
  }

  /** One to eight digits without anything else, as nearly all numbers are; -1, and nothing read, for others. */
  #smallNumber(): number {
    const bytes = this.#bytes;
    const start = this.#at;
    let at = start;
    let value = 0;
    let byte = bytes[at] ?? 0;
    while (at < this.#end && byte >= 0x30 && byte <= 0x39) {
      value = 10 * value + byte - 0x30;
      byte = bytes[++at] ?? 0;
    }
    const count = at - start;
    if (count === 0 || count > 8 || (count > 1 && bytes[start] === 0x30)) return -1;
    // A fraction or an exponent goes on.
    if (at < this.#end && (byte === 0x2e || byte === 0x65 || byte === 0x45)) return -1;
    this.#at = at;
    return value;
  }

  #string(): string {
    const bytes = this.#bytes;
    const end = this.#end;
    let text = "";
    let start = ++this.#at;
    for (;;) {
      let at = this.#at;
      while (at < end && bytes[at]! >= 0x20 && bytes[at] !== QUOTE && bytes[at] !== BACKSLASH) at++;
      this.#at = at;
      if (at === end) throw this.#fail("a string does not end");
      if (bytes[at]! < 0x20) throw this.#fail("a control character in a string");
      text = start === at ? text : text + this.#slice(start);
      this.#at++;
      if (bytes[at] === QUOTE) return text;
      text += this.#escape();
      start = this.#at;
    }
  }

  #escape(): string {
    const at = this.#at - 1;
    const byte = this.#peek();
    if (byte !== 0x75) {
      const plain = byte === undefined ? undefined : escapes.get(byte);
      if (plain === undefined) throw this.#fail("no such escape");
      this.#at++;
      return plain;
    }
    const unit = this.#unit();
    if (unit < 0xd800 || unit > 0xdfff) return String.fromCharCode(unit);
    // A pair, or it is no text.
    if (unit < 0xdc00 && this.#peek() === BACKSLASH && this.#bytes[this.#at + 1] === 0x75) {
      this.#at++;
      const low = this.#unit();
      if (low >= 0xdc00 && low <= 0xdfff) return String.fromCharCode(unit, low);
    }
    throw this.#fail("a surrogate that is not one of a pair", at, `${iJson}, 2.1`);
  }

  /** Four hexadecimal digits behind a `u`. */
  #unit(): number {
    let unit = 0;
    for (let i = 0; i < 4; i++) {
      this.#at++;
      const byte = this.#peek();
      const digit = byte === undefined ? Number.NaN : Number.parseInt(String.fromCharCode(byte), 16);
      if (Number.isNaN(digit)) throw this.#fail("a hexadecimal digit must stand here");
      unit = unit * 16 + digit;
    }
    this.#at++;
    return unit;
  }
}

/**
 * The JSON value that fills the bytes from `at` to `end`, white space aside. Throws MalformedError: `truncated`, `trailing-bytes`,
 * `bad-value` for all else, also for a name that stands twice in an object and for what is larger than `limits`.
 */
export function parseStrictJson(
  bytes: Uint8Array,
  at = 0,
  end = bytes.length,
  limits: JsonLimits = defaultJsonLimits,
): JsonNode {
  return new JsonParser(bytes, at, end, limits).whole();
}

/** `node`, which must be of this kind. Throws MalformedError `bad-value`. `document` names what defines the member. */
export function jsonOf<K extends JsonKind>(node: JsonNode, kind: K, document: string): JsonOf<K> {
  if (node.kind !== kind)
    throw new MalformedError("bad-value", node.offset, document, `${node.kind}, where ${kind} must stand`);
  return node as JsonOf<K>;
}

/** A member that must be there. Throws MalformedError `bad-value` when it is not, or of another kind. */
export function jsonMember<K extends JsonKind>(
  object: JsonObject,
  name: string,
  kind: K,
  document: string,
): JsonOf<K> {
  const node = object.get(name);
  if (node === undefined)
    throw new MalformedError("bad-value", object.offset, document, `there is no ${JSON.stringify(name)}`);
  return jsonOf(node, kind, document);
}

/** A member that may be missing. Throws MalformedError `bad-value` when it is of another kind. */
export function jsonOptional<K extends JsonKind>(
  object: JsonObject,
  name: string,
  kind: K,
  document: string,
): JsonOf<K> | undefined {
  const node = object.get(name);
  return node === undefined ? undefined : jsonOf(node, kind, document);
}

export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue };

/** The plain value of a node. Objects have no prototype, so that no name in them means anything. */
export function jsonValue(node: JsonNode): JsonValue {
  switch (node.kind) {
    case "object": {
      const plain: Record<string, JsonValue> = Object.create(null);
      for (const [name, member] of node.members) plain[name] = jsonValue(member);
      return plain;
    }
    case "array":
      return node.items.map(jsonValue);
    case "null":
      return null;
    case "string":
    case "number":
    case "boolean":
      return node.value;
    default:
      return node satisfies never;
  }
}
