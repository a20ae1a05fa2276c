import { MalformedError, Writer } from "@entresol/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { moduleClosure, moduleName, readModinfo, unpackModule } from "./modules.ts";
import { GuestImageError } from "./release.ts";

/** A relocatable ELF file with a .modinfo section of the given strings and nothing else. */
function moduleFile(...info: string[]): Uint8Array {
  const modinfo = Buffer.from(info.map((text) => `${text}\0`).join(""));
  const names = Buffer.from("\0.shstrtab\0.modinfo\0");
  const writer = new Writer();
  writer.u32(0x464c457f).u8(2).u8(1).u8(1).zeros(9);
  const dataAt = 64;
  const tableAt = dataAt + names.length + modinfo.length;
  writer.u16(1).u16(62).u32(1).u64(0).u64(0).u64(tableAt).u32(0);
  writer.u16(64).u16(0).u16(0).u16(64).u16(3).u16(1);
  writer.bytes(names).bytes(modinfo);
  const section = (name: number, offset: number, size: number) => {
    writer.u32(name).u32(1).u64(0).u64(0).u64(offset).u64(size).u32(0).u32(0).u64(1).u64(0);
  };
  section(0, 0, 0);
  section(1, dataAt, names.length);
  section(11, dataAt + names.length, modinfo.length);
  return writer.finish();
}

// "entresol\n", as `xz -0` gives it.
const xz = Buffer.from(
  "fd377a585a000004e6d6b446020021010c0000008f98419c010008656e747265736f6c0a00000000c11254f1d6fc9def000121096c18c5d51fb6f37d010000000004595a",
  "hex",
);

describe(".modinfo", () => {
  it("gives the values of each key in order", () => {
    const info = readModinfo(
      moduleFile("license=GPL", "alias=pci:a", "alias=pci:b=c", "depends=", "rubbish"),
    );
    expect([...info]).toEqual([
      ["license", ["GPL"]],
      ["alias", ["pci:a", "pci:b=c"]],
      ["depends", [""]],
    ]);
  });

  it("is found only in 64-bit little-endian ELF files", () => {
    const code = (bytes: Uint8Array) => {
      try {
        readModinfo(bytes);
        return "accepted";
      } catch (error) {
        return error instanceof MalformedError ? error.code : String(error);
      }
    };
    const good = moduleFile("depends=a");
    const patched = (at: number, value: number) => code(good.with(at, value));
    expect(code(new Uint8Array(0))).toBe("truncated");
    expect(patched(0, 0)).toBe("bad-magic");
    expect(patched(4, 1)).toBe("bad-magic");
    expect(patched(0x3a, 63)).toBe("out-of-range");
    expect(patched(0x2b, 0xff)).toBe("out-of-range");
    expect(patched(0x3e, 9)).toBe("out-of-range");
    // No such section: no information, but no error either.
    expect(readModinfo(good.with(64 + 12, 0x58)).size).toBe(0);
  });

  it("of hostile bytes gives a map or a MalformedError", () => {
    const good = moduleFile("license=GPL", "depends=a,b");
    const patch = fc.tuple(fc.nat(good.length - 1), fc.nat(255));
    fc.assert(
      fc.property(fc.array(patch, { maxLength: 5 }), fc.nat(good.length), (patches, length) => {
        const bytes = good.slice();
        for (const [at, value] of patches) bytes[at] = value;
        try {
          expect(readModinfo(bytes.subarray(0, length))).toBeInstanceOf(Map);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe("packed modules", () => {
  it("are unpacked by their name's ending", async () => {
    expect(Buffer.from(await unpackModule("a.ko.xz", xz)).toString()).toBe("entresol\n");
    expect(await unpackModule("a.ko", xz)).toBe(xz);
  });

  it("that do not unpack are a corrupted cache", async () => {
    for (const broken of [xz.subarray(0, 30), Buffer.alloc(50), Buffer.alloc(0)]) {
      await expect(unpackModule("a.ko.xz", broken)).rejects.toMatchObject({ code: "corrupted-cache" });
    }
  });
});

describe("the closure of modules", () => {
  const files = new Map([
    ["kernel/a/top.ko", moduleFile("depends=mid-one,low")],
    ["kernel/b/mid-one.ko", moduleFile("depends=low")],
    ["kernel/c/low.ko", moduleFile("depends=")],
    ["kernel/c/loop.ko", moduleFile("depends=loop")],
    ["kernel/c/orphan.ko", moduleFile("depends=missing")],
    ["kernel/c/over.ko", moduleFile("depends=inside")],
  ]);
  const closure = async (...wanted: string[]) => {
    const load = (path: string) => Promise.resolve(files.get(path)!);
    const order = await moduleClosure(wanted, [...files.keys()], new Set(["inside"]), load);
    return order.map(({ name }) => name);
  };

  it("puts dependencies first, each once, under the kernel's spelling", async () => {
    expect(await closure("top")).toEqual(["low", "mid_one", "top"]);
    expect(await closure("mid-one", "top", "mid_one")).toEqual(["low", "mid_one", "top"]);
    expect(moduleName("kernel/b/mid-one.ko.xz")).toBe("mid_one");
  });

  it("ends although modules depend on each other in a circle", async () => {
    expect(await closure("loop")).toEqual(["loop"]);
  });

  it("leaves out what is built in", async () => {
    expect(await closure("inside", "over")).toEqual(["over"]);
  });

  it("refuses a module that does not exist, and says who needs it", async () => {
    await expect(closure("nothing")).rejects.toMatchObject({ code: "unknown-module" });
    await expect(closure("orphan")).rejects.toThrow(GuestImageError);
    await expect(closure("orphan")).rejects.toThrow(/"missing", needed by orphan/);
  });
});
