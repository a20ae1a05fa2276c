import { MalformedError } from "@entresol/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type CpioEntry, readCpio, writeCpio } from "./cpio.ts";

const entries: CpioEntry[] = [
  { type: "file", path: "init", mode: 0o755, data: Buffer.from("#!/bin/sh\n") },
  { type: "device", path: "dev/console", mode: 0o600, major: 5, minor: 1 },
  { type: "directory", path: "dev", mode: 0o755 },
  { type: "symlink", path: "bin-sh", mode: 0o777, target: "busybox" },
];

function refusal(bytes: Uint8Array): string {
  try {
    readCpio(bytes);
    return "accepted";
  } catch (error) {
    return error instanceof MalformedError ? error.code : `not a MalformedError: ${String(error)}`;
  }
}

describe("a newc archive", () => {
  it("is headers of 110 digits, names and data, all on 4 bytes", () => {
    const archive = Buffer.from(
      writeCpio([{ type: "file", path: "ab", mode: 0o644, data: Buffer.from("xyz") }]),
    );
    expect(archive.toString("latin1")).toBe(
      `${[
        "070701",
        "00000001", // inode
        "000081a4", // regular file, 0644
        "00000000", // uid
        "00000000", // gid
        "00000001", // links
        "00000000", // date
        "00000003", // size
        "00000000".repeat(4),
        "00000003", // name, with its NUL
        "00000000",
      ].join(
        "",
      )}ab\0\0\0\0xyz\0${"070701"}${"00000000".repeat(4)}00000001${"00000000".repeat(6)}0000000b00000000TRAILER!!!\0\0\0\0`,
    );
  });

  it("holds what was put in, sorted, directories before what is in them", () => {
    const found = readCpio(writeCpio(entries));
    expect(found.map(({ path }) => path)).toEqual(["bin-sh", "dev", "dev/console", "init"]);
    expect(found).toEqual([
      entries[3],
      entries[2],
      entries[1],
      { ...entries[0], data: new Uint8Array(Buffer.from("#!/bin/sh\n")) },
    ]);
  });

  it("is the same bytes whatever the order of its entries", () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(entries, { minLength: entries.length }), (shuffled) => {
        expect(writeCpio(shuffled)).toEqual(writeCpio(entries));
      }),
    );
  });

  it("of any entries reads back", () => {
    const name = fc.stringMatching(/^[a-z]{1,9}$/);
    const mode = fc.integer({ min: 0, max: 0o7777 });
    const number = fc.nat(2 ** 20);
    const entry: fc.Arbitrary<CpioEntry> = fc.oneof(
      fc.record({ type: fc.constant("file" as const), path: name, mode, data: fc.uint8Array() }),
      fc.record({ type: fc.constant("symlink" as const), path: name, mode, target: name }),
      fc.record({ type: fc.constant("device" as const), path: name, mode, major: number, minor: number }),
      fc.record({ type: fc.constant("directory" as const), path: name, mode }),
    );
    fc.assert(
      fc.property(fc.uniqueArray(entry, { selector: ({ path }) => path }), (list) => {
        const sorted = [...list].sort((a, b) => (a.path < b.path ? -1 : 1));
        expect(readCpio(writeCpio(list))).toEqual(sorted);
      }),
    );
  });
});

describe("reading", () => {
  const archive = writeCpio(entries);
  const patched = (at: number, text: string) => {
    const bytes = archive.slice();
    bytes.set(Buffer.from(text), at);
    return refusal(bytes);
  };

  it("refuses by code what the kernel would not unpack", () => {
    expect(patched(0, "070702")).toBe("bad-magic");
    expect(patched(14, "zz")).toBe("bad-value");
    expect(patched(14, "0000c000")).toBe("bad-value");
    expect(patched(94, "00000000")).toBe("bad-value");
    expect(patched(94, "00000004")).toBe("bad-value");
    expect(patched(54, "ffffffff")).toBe("truncated");
    expect(refusal(new Uint8Array(0))).toBe("truncated");
    for (let length = 0; length < archive.length - 4; length++) {
      expect(refusal(archive.subarray(0, length)), `${length} bytes`).not.toBe("accepted");
    }
  });

  it("of hostile bytes gives entries or a MalformedError", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(archive.length - 1), fc.stringMatching(/^[0-9a-f]{1,8}$/)), {
          maxLength: 5,
        }),
        fc.nat(archive.length),
        (patches, length) => {
          const bytes = Buffer.from(archive);
          for (const [at, text] of patches) bytes.write(text, at, "latin1");
          expect(refusal(bytes.subarray(0, length))).toMatch(/^[a-z-]+$/);
        },
      ),
      { numRuns: 1000 },
    );
  });
});
