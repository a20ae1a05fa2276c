/* The part of DER (X.690) that certificates are made of: elements with one octet of tag and a length of at most 65535. */

export const Tag = {
  BOOLEAN: 0x01,
  INTEGER: 0x02,
  BIT_STRING: 0x03,
  OCTET_STRING: 0x04,
  NULL: 0x05,
  OBJECT_IDENTIFIER: 0x06,
  SEQUENCE: 0x30,
  /** [0], constructed; [1] to [3] follow. */
  CONTEXT: 0xa0,
} as const;

export interface DerElement {
  readonly tag: number;
  /** Tag, length and content. */
  readonly whole: Uint8Array;
  readonly content: Uint8Array;
}

/** Content octets and where they begin. Undefined unless tag and length are as DER wants them and all of it is there. */
function elementAt(data: Uint8Array, at: number): DerElement | undefined {
  const tag = data[at];
  const first = data[at + 1];
  if (tag === undefined || first === undefined || (tag & 0x1f) === 0x1f) return undefined;
  let start = at + 2;
  let length = first;
  if (first >= 0x80) {
    const octets = first & 0x7f;
    if (octets !== 1 && octets !== 2) return undefined;
    length = 0;
    for (let i = 0; i < octets; i++) {
      const octet = data[start++];
      if (octet === undefined) return undefined;
      length = (length << 8) | octet;
    }
    // The shortest form is the only one.
    if (length < (octets === 1 ? 0x80 : 0x100)) return undefined;
  }
  const end = start + length;
  if (end > data.length) return undefined;
  return { tag, whole: data.subarray(at, end), content: data.subarray(start, end) };
}

/** The elements that fill `data` from beginning to end; undefined when anything is left over or malformed. Nothing in them is looked into. */
export function readElements(data: Uint8Array): readonly DerElement[] | undefined {
  const elements: DerElement[] = [];
  for (let at = 0; at < data.length; ) {
    const element = elementAt(data, at);
    if (element === undefined) return undefined;
    elements.push(element);
    at += element.whole.length;
  }
  return elements;
}

/** The only element of `data`, if it has this tag. */
export function readElement(data: Uint8Array, tag: number): DerElement | undefined {
  const element = elementAt(data, 0);
  return element?.tag === tag && element.whole.length === data.length ? element : undefined;
}

/** Content of a BIT STRING of up to 32 bits as a number whose highest bit (31) is the string's first. Undefined for what is none. */
export function bitsOf(content: Uint8Array): number | undefined {
  const unused = content[0];
  const octets = content.subarray(1);
  if (unused === undefined || unused > 7 || octets.length > 4) return undefined;
  if (octets.length === 0) return unused === 0 ? 0 : undefined;
  if ((octets.at(-1)! & ((1 << unused) - 1)) !== 0) return undefined;
  let bits = 0;
  for (let i = 0; i < 4; i++) bits = (bits << 8) | (octets[i] ?? 0);
  return bits >>> 0;
}

/** An element around parts that are DER already, or plain content. */
export function element(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const octets: number[] = [tag];
  if (length < 0x80) octets.push(length);
  else if (length < 0x100) octets.push(0x81, length);
  else octets.push(0x82, length >>> 8, length & 0xff);
  const bytes = new Uint8Array(octets.length + length);
  bytes.set(octets);
  let at = octets.length;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** A number that is not negative, big-endian with any leading zeros. */
export function unsigned(value: Uint8Array): Uint8Array {
  let at = 0;
  while (at < value.length - 1 && value[at] === 0) at++;
  const digits = value.subarray(at);
  const isSigned = digits.length === 0 || digits[0]! >= 0x80;
  return element(Tag.INTEGER, ...(isSigned ? [new Uint8Array(1), digits] : [digits]));
}

/** A BIT STRING of whole octets. */
export function bitString(...parts: readonly Uint8Array[]): Uint8Array {
  return element(Tag.BIT_STRING, new Uint8Array(1), ...parts);
}

/** An OBJECT IDENTIFIER by its arcs with dots between them. */
export function objectIdentifier(dotted: string): Uint8Array {
  const [first, second, ...others] = dotted.split(".").map(Number);
  const octets: number[] = [];
  for (const arc of [40 * first! + second!, ...others]) {
    const digits = [arc & 0x7f];
    for (let rest = Math.floor(arc / 0x80); rest > 0; rest = Math.floor(rest / 0x80))
      digits.unshift(0x80 | (rest & 0x7f));
    octets.push(...digits);
  }
  return element(Tag.OBJECT_IDENTIFIER, Uint8Array.from(octets));
}

export const derNull = element(Tag.NULL);
