import { type Hash, PAGE_SIZE } from "../hash.ts";
import { MeasurementError } from "../measurement-error.ts";

/** Bytes that one TDH.MR.EXTEND measures. */
const CHUNK_SIZE = 256;
/** Bytes that the TDX module hashes for each step before the contents. */
const RECORD_SIZE = 128;
const zeros = new Uint8Array(PAGE_SIZE);

/**
 * MRTD as the TDX module builds it (TDX module ABI, TDH.MEM.PAGE.ADD and TDH.MR.EXTEND): one SHA-384 over a record per added page and
 * per measured 256 bytes, so that the order counts.
 */
export class TdMeasurement {
  readonly #hash: Hash;
  readonly #parts: Uint8Array[] = [];

  constructor(hash: Hash) {
    this.#hash = hash;
  }

  /** TDH.MEM.PAGE.ADD: a page at a guest physical address; what is in it does not count. */
  addPage(gpa: number): this {
    if (!Number.isSafeInteger(gpa) || gpa < 0 || gpa % PAGE_SIZE !== 0)
      throw new MeasurementError("bad-argument", `0x${gpa.toString(16)} is not the address of a page`);
    this.#parts.push(record("MEM.PAGE.ADD", gpa));
    return this;
  }

  /** TDH.MR.EXTEND over a whole page. Short contents are filled with zeros. */
  extendPage(gpa: number, contents: Uint8Array): this {
    if (contents.length > PAGE_SIZE)
      throw new MeasurementError("bad-argument", `${contents.length} bytes are more than a page`);
    const page = new Uint8Array((PAGE_SIZE / CHUNK_SIZE) * (RECORD_SIZE + CHUNK_SIZE));
    let to = 0;
    for (let at = 0; at < PAGE_SIZE; at += CHUNK_SIZE) {
      page.set(record("MR.EXTEND", gpa + at), to);
      page.set(contents.subarray(at, at + CHUNK_SIZE), to + RECORD_SIZE);
      to += RECORD_SIZE + CHUNK_SIZE;
    }
    this.#parts.push(page);
    return this;
  }

  /** A page that is added and measured. */
  addMeasuredPage(gpa: number, contents: Uint8Array = zeros): this {
    return this.addPage(gpa).extendPage(gpa, contents);
  }

  /** TDH.MR.FINALIZE: 48 bytes. */
  finish(): Uint8Array {
    return Uint8Array.from(this.#hash("sha384", ...this.#parts));
  }
}

function record(operation: string, gpa: number): Uint8Array {
  const bytes = new Uint8Array(RECORD_SIZE);
  for (let i = 0; i < operation.length; i++) bytes[i] = operation.charCodeAt(i);
  new DataView(bytes.buffer).setBigUint64(16, BigInt(gpa), true);
  return bytes;
}
