import { readFileSync } from "node:fs";
import { hex } from "@entresol/wire";
import fc from "fast-check";
import { expect, it } from "vitest";
import { type BootField, field, headerEnd, zeroPageSize } from "./setup-header.ts";
import { bzImage } from "./test-kernels.ts";

const fields: BootField[] = Object.values(field);

it("specs/boot.md holds the table of fields", () => {
  const text = readFileSync(new URL("../../../../specs/boot.md", import.meta.url), "utf8");
  for (const { offset, width, purpose } of fields) {
    expect(text).toContain(`| ${hex(offset, 3)} | ${width === 0 ? "table" : width} | ${purpose} |`);
  }
});

it("fields do not overlap and lie in the zero page", () => {
  let end = 0;
  for (const { offset, width } of [...fields].sort((a, b) => a.offset - b.offset)) {
    expect(offset).toBeGreaterThanOrEqual(end);
    end = offset + width;
  }
  expect(end).toBeLessThanOrEqual(zeroPageSize);
});

it("a field is little-endian and touches only its own bytes", () => {
  const widest = { 1: 0xff, 2: 0xffff, 4: 0xffffffff, 8: Number.MAX_SAFE_INTEGER } as const;
  fc.assert(
    fc.property(fc.constantFrom(...fields), fc.double({ min: 0, max: 1, noNaN: true }), (one, part) => {
      if (one.width === 0) return;
      const value = Math.floor(widest[one.width] * part);
      const page = new Uint8Array(zeroPageSize);
      one.write(page, value);
      expect(one.read(page)).toBe(value);
      expect(page[one.offset]).toBe(value % 256);
      page.fill(0, one.offset, one.offset + one.width);
      expect(page.some((byte) => byte !== 0)).toBe(false);
    }),
  );
});

it("a 64-bit value that no number holds reads as infinite, so that it fits nowhere", () => {
  const file = bzImage();
  file.fill(0xff, field.preferredAddress.offset, field.preferredAddress.offset + 8);
  expect(field.preferredAddress.read(file)).toBe(Number.POSITIVE_INFINITY);
});

it("the header ends where its jump goes, if the zero page has room for it", () => {
  const ending = (distance: number) => {
    const file = bzImage();
    file[0x201] = distance;
    return headerEnd(file);
  };
  expect(ending(0x6a)).toBe(0x26c);
  expect(ending(0x8e)).toBe(0x290);
  expect(ending(0x8f)).toBeUndefined();
  // Up to init_size and not less.
  expect(ending(0x62)).toBe(0x264);
  expect(ending(0x61)).toBeUndefined();
});
