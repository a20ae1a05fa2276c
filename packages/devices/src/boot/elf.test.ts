import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BootError } from "./boot-error.ts";
import { parseElf64 } from "./elf.ts";
import { elfFile } from "./test-kernels.ts";

const code = Uint8Array.of(0x90, 0xf4);

function refusal(file: Uint8Array): string {
  try {
    parseElf64(file);
    return "accepted";
  } catch (error) {
    return error instanceof BootError ? error.code : `not a BootError: ${String(error)}`;
  }
}

describe("an ELF-64 executable", () => {
  it("gives its loadable segments at their physical addresses", () => {
    const file = elfFile(0x1000001n, [
      { physical: 0x1000000, virtual: 0xffffffff81000000n, bytes: code, memorySize: 0x3000 },
      { type: 4, physical: 0, bytes: Uint8Array.of(1, 2, 3) },
      { physical: 0x2000000, bytes: Uint8Array.of(7) },
    ]);
    const { entry, segments } = parseElf64(file);
    expect(entry).toBe(0x1000001);
    expect(segments).toEqual([
      { physical: 0x1000000, virtual: 0xffffffff81000000n, bytes: code, memorySize: 0x3000 },
      { physical: 0x2000000, virtual: 0x2000000n, bytes: Uint8Array.of(7), memorySize: 1 },
    ]);
  });

  it("may name its entry by virtual address", () => {
    const at = { physical: 0x1000000, virtual: 0xffffffff81000000n, bytes: code, memorySize: 0x3000 };
    expect(parseElf64(elfFile(0xffffffff81000123n, [at])).entry).toBe(0x1000123);
    expect(refusal(elfFile(0xffffffff81003000n, [at]))).toBe("unsupported-kernel");
  });

  it("is refused by code for what is wrong", () => {
    const good = elfFile(0x1000000n, [{ physical: 0x1000000, bytes: code }]);
    const patched = (at: number, ...values: number[]) => {
      const file = good.slice();
      file.set(values, at);
      return refusal(file);
    };
    expect(refusal(good)).toBe("accepted");
    expect(refusal(new Uint8Array(0))).toBe("not-a-kernel");
    expect(patched(0, 0x7e)).toBe("not-a-kernel");
    expect(patched(4, 1)).toBe("unsupported-kernel");
    expect(patched(5, 2)).toBe("unsupported-kernel");
    expect(patched(16, 1)).toBe("unsupported-kernel");
    expect(patched(18, 0xb7)).toBe("unsupported-kernel");
    expect(patched(54, 32)).toBe("unsupported-kernel");
    expect(patched(56, 0)).toBe("unsupported-kernel");
    expect(patched(56, 2)).toBe("truncated-kernel");
    expect(patched(39, 0xff)).toBe("unsupported-kernel");
    for (let length = 4; length < good.length; length++) {
      expect(refusal(good.subarray(0, length)), `${length} bytes`).toBe("truncated-kernel");
    }
  });

  it("is refused when a segment is larger in the file than in memory, or outside of the file", () => {
    expect(refusal(elfFile(0n, [{ physical: 0, bytes: code, memorySize: 1 }]))).toBe("unsupported-kernel");
    expect(refusal(elfFile(0n, [{ physical: 0, bytes: code, offset: 1000 }]))).toBe("truncated-kernel");
    expect(
      refusal(elfFile(0n, [{ physical: 0, bytes: code, fileSize: 2n ** 52n, memorySize: 2n ** 52n }])),
    ).toBe("unsupported-kernel");
    expect(refusal(elfFile(0n, [{ physical: 2n ** 63n, bytes: code }]))).toBe("unsupported-kernel");
  });

  it("of hostile bytes gives a BootError or segments inside the file", () => {
    const base = elfFile(0x1000000n, [
      { physical: 0x1000000, bytes: code },
      { physical: 0x2000000, bytes: code },
    ]);
    const patch = fc.tuple(fc.nat(base.length - 1), fc.uint8Array({ minLength: 1, maxLength: 8 }));
    fc.assert(
      fc.property(fc.array(patch, { maxLength: 4 }), fc.nat(base.length), (patches, length) => {
        const file = base.slice();
        for (const [at, bytes] of patches) file.set(bytes.subarray(0, file.length - at), at);
        const cut = file.subarray(0, length);
        try {
          for (const { bytes, memorySize } of parseElf64(cut).segments) {
            expect(bytes.length).toBeLessThanOrEqual(memorySize);
            expect(bytes.byteOffset + bytes.length).toBeLessThanOrEqual(cut.byteOffset + cut.length);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(BootError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
