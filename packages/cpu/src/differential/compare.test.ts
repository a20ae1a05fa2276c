import { describe, expect, test } from "vitest";
import { Comparison } from "./compare.ts";
import { AF, CF, OF } from "./explained.ts";
import {
  A_CODE,
  A_MODIFIABLE,
  FX_ST,
  FX_STATUS,
  FX_XMM,
  R_CODE,
  R_CR2,
  R_ERROR,
  R_FLAGS,
  R_LENGTH,
  R_RIP,
  R_RULE,
  R_SIZE,
  R_UNDEFINED_ANY,
  R_UNDEFINED_END,
  R_VECTOR,
  RULE_RECIPROCAL,
  RULE_TRANSCENDENTAL,
} from "./record.ts";

/** A case of four bytes that reached its end marker, three times. */
function sides(start = A_CODE) {
  const input = new DataView(new ArrayBuffer(R_SIZE));
  input.setUint32(R_RIP, start, true);
  input.setUint32(R_LENGTH, 4, true);
  const native = new DataView(input.buffer.slice(0));
  native.setUint32(R_RIP, start + 4, true);
  native.setUint32(R_VECTOR, 13, true);
  return { input, native, ours: new DataView(native.buffer.slice(0)) };
}

const comparison = new Comparison();

describe("flags", () => {
  test("a flag that is undefined at the end does not count there, and any other does", () => {
    const { input, native, ours } = sides();
    input.setUint16(R_UNDEFINED_END, AF, true);
    ours.setUint32(R_FLAGS, AF, true);
    expect(comparison.agree(input, native, ours)).toBe(true);
    ours.setUint32(R_FLAGS, AF | OF, true);
    expect(comparison.agree(input, native, ours)).toBe(false);
  });

  test("a case that stops in the middle is judged by what is undefined anywhere", () => {
    const { input, native, ours } = sides();
    input.setUint16(R_UNDEFINED_END, 0, true);
    input.setUint16(R_UNDEFINED_ANY, CF, true);
    for (const side of [native, ours]) side.setUint32(R_VECTOR, 6, true);
    ours.setUint32(R_FLAGS, CF, true);
    expect(comparison.agree(input, native, ours)).toBe(true);
  });

  test("the six flags of code that has modified itself do not count, its registers do", () => {
    const { input, native, ours } = sides(A_MODIFIABLE);
    for (const side of [native, ours]) side.setUint8(R_CODE, 0x90);
    ours.setUint32(R_FLAGS, CF, true);
    expect(comparison.agree(input, native, ours)).toBe(true);
    ours.setUint32(0, 1, true);
    expect(comparison.agree(input, native, ours)).toBe(false);
  });

  test("code that has modified itself into a branch may go either way on a flag that was undefined before", () => {
    const { input, native, ours } = sides(A_MODIFIABLE);
    for (const side of [native, ours]) side.setUint8(R_CODE, 0x7c); // JL
    native.setUint32(R_RIP, A_MODIFIABLE - 0x1d, true);
    expect(comparison.agree(input, native, ours)).toBe(false);
    input.setUint16(R_UNDEFINED_ANY, OF, true);
    expect(comparison.agree(input, native, ours)).toBe(true);
  });
});

describe("page faults", () => {
  test("the present bit counts below the upper half only", () => {
    const { input, native, ours } = sides();
    for (const side of [native, ours]) side.setUint32(R_VECTOR, 14, true);
    native.setUint32(R_ERROR, 5, true);
    ours.setUint32(R_ERROR, 4, true);
    expect(comparison.agree(input, native, ours)).toBe(false);
    for (const side of [native, ours]) side.setBigUint64(R_CR2, 0xffff800000000000n, true);
    expect(comparison.agree(input, native, ours)).toBe(true);
    ours.setUint32(R_ERROR, 6, true);
    expect(comparison.agree(input, native, ours)).toBe(false);
  });
});

describe("inexact results", () => {
  test("a transcendental result may be 4 units of the last place away, not more, and keeps its sign", () => {
    const { input, native, ours } = sides();
    input.setUint8(R_RULE, RULE_TRANSCENDENTAL);
    for (const side of [native, ours]) {
      side.setBigUint64(FX_ST, 0x8000000000000010n, true);
      side.setUint16(FX_ST + 8, 0x3fff, true);
    }
    ours.setBigUint64(FX_ST, 0x8000000000000014n, true);
    ours.setUint16(FX_STATUS, 0x0230, true); // C1, PE, UE
    expect(comparison.agree(input, native, ours)).toBe(true);
    ours.setBigUint64(FX_ST, 0x8000000000000015n, true);
    expect(comparison.agree(input, native, ours)).toBe(false);
    ours.setBigUint64(FX_ST, 0x8000000000000010n, true);
    ours.setUint16(FX_ST + 8, 0xbfff, true);
    expect(comparison.agree(input, native, ours)).toBe(false);
  });

  test("a result just below a power of two is near one just above", () => {
    const { input, native, ours } = sides();
    input.setUint8(R_RULE, RULE_TRANSCENDENTAL);
    native.setBigUint64(FX_ST, 0x8000000000000000n, true);
    native.setUint16(FX_ST + 8, 0x3fff, true);
    ours.setBigUint64(FX_ST, 0xffffffffffffffffn, true);
    ours.setUint16(FX_ST + 8, 0x3ffe, true);
    expect(comparison.agree(input, native, ours)).toBe(true);
  });

  test("a reciprocal may be wrong by 3 x 2^-12 of its value", () => {
    const { input, native, ours } = sides();
    input.setUint8(R_RULE, RULE_RECIPROCAL);
    native.setFloat32(FX_XMM, 8, true);
    ours.setFloat32(FX_XMM, 8 * (1 + 2.9 * 2 ** -12), true);
    expect(comparison.agree(input, native, ours)).toBe(true);
    ours.setFloat32(FX_XMM, 8 * (1 + 3.1 * 2 ** -12), true);
    expect(comparison.agree(input, native, ours)).toBe(false);
  });
});

test("differences name the field with both values", () => {
  const { input, native, ours } = sides();
  ours.setUint16(FX_XMM + 16, 0xbeef, true);
  expect(comparison.differences(input, native, ours)).toEqual([
    { field: "xmm1", native: "0".repeat(32), ours: `${"0".repeat(28)}beef` },
  ]);
});
