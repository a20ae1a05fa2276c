/** Root of every error that Entresol throws on purpose. `code` is stable: match on it, never on the message. */
export class EntresolError<Code extends string = string> extends Error {
  override readonly name: string = "EntresolError";
  readonly code: Code;

  constructor(code: Code, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** What can be wrong with bytes that a parser was given. */
export type MalformedCode =
  | "truncated"
  | "bad-magic"
  | "bad-version"
  | "out-of-range"
  | "bad-value"
  | "trailing-bytes";

/** Thrown by parsers for bytes that do not follow their specification. */
export class MalformedError extends EntresolError<MalformedCode> {
  override readonly name = "MalformedError";
  /** Byte offset, from the start of the parser's input, of the field that is wrong. */
  readonly offset: number;
  /** The document and clause that the bytes break, for example "newc cpio, c_magic". */
  readonly spec: string;

  constructor(code: MalformedCode, offset: number, spec: string, message: string) {
    super(code, `${message} (offset 0x${offset.toString(16)}, ${spec})`);
    this.offset = offset;
    this.spec = spec;
  }
}
