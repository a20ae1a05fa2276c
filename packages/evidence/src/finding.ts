/** Bytes of the parser's input. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/**
 * Something in well-formed evidence that a reader should know of and a verifier decide on: a parser reports it and goes on.
 *
 * - `reserved-not-zero`: bytes that the specification wants to be zero are not
 * - `unknown-bits`: flags that this package has no name for
 * - `bit-not-one`: a bit that the specification wants to be one is zero
 * - `unknown-value`: a number from an open list that this package does not know
 * - `trailing-bytes`: bytes behind the evidence, not all of them zero
 * - `padding`: zero bytes behind the evidence
 */
export type FindingKind =
  | "reserved-not-zero"
  | "unknown-bits"
  | "bit-not-one"
  | "unknown-value"
  | "trailing-bytes"
  | "padding";

export interface Finding extends ByteRange {
  readonly kind: FindingKind;
  /** Name of the field, as in the byte map. */
  readonly path: string;
  readonly spec: string;
  /** For people. */
  readonly detail: string;
}

/** The finding for what lies from `at` to the end of `bytes`; none when nothing does. */
export function trailingFinding(bytes: Uint8Array, at: number, spec: string): Finding[] {
  const length = bytes.length - at;
  if (length <= 0) return [];
  let zero = true;
  for (let i = at; i < bytes.length && zero; i++) zero = bytes[i] === 0;
  return [
    {
      kind: zero ? "padding" : "trailing-bytes",
      path: "trailing",
      offset: at,
      length,
      spec,
      detail: `${length} ${zero ? "zero bytes" : "bytes"} behind the end`,
    },
  ];
}
