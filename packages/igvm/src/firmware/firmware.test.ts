import { existsSync, readFileSync } from "node:fs";
import { MalformedError } from "@entresol/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { firmwareImage } from "../testing/firmware-image.ts";
import { firmwareGuids, parseFirmware } from "./footer.ts";
import { parseSevMetadata, sevHashTableGpa, sevResetVector } from "./sev-metadata.ts";
import { parseTdxMetadata } from "./tdx-metadata.ts";

const memory = { gpa: 0x80_0000, size: 0x1000, type: 1 };
const volume = { gpa: 0xffff_f000, size: 0x1000, type: 0, offset: 0, rawSize: 0x1000, attributes: 1 };
const image = firmwareImage({
  sev: [memory],
  tdx: [volume],
  resetVector: 0x80_b004,
  hashTable: { gpa: 0x80_fc00, size: 0x400 },
});

/** The image with bytes put where `find` first stands, and `skip` further. */
function patched(find: string, skip: number, ...values: readonly number[]): Uint8Array {
  const copy = image.slice();
  copy.set(values, Buffer.from(copy).indexOf(find) + skip);
  return copy;
}
const code = (run: () => unknown) => {
  try {
    run();
  } catch (error) {
    if (error instanceof MalformedError) return error.code;
    throw error;
  }
  return undefined;
};
const sev = (bytes: Uint8Array) => code(() => parseSevMetadata(parseFirmware(bytes)));
const tdx = (bytes: Uint8Array) => code(() => parseTdxMetadata(parseFirmware(bytes)));

describe("a firmware image", () => {
  it("ends at 4 GiB, and has a table of what its metadata is", () => {
    const firmware = parseFirmware(image);
    expect(firmware.gpa).toBe(0xffff_f000);
    expect([...firmware.entries.keys()].toSorted()).toEqual(Object.values(firmwareGuids).toSorted());
    expect(sevResetVector(firmware)).toBe(0x80_b004);
    expect(sevHashTableGpa(firmware)).toBe(0x80_fc00);
    expect(parseSevMetadata(firmware)).toEqual([{ type: "memory", gpa: 0x80_0000, size: 0x1000 }]);
    expect(parseTdxMetadata(firmware)).toEqual([
      {
        type: "boot-firmware-volume",
        data: image,
        gpa: 0xffff_f000,
        size: 0x1000,
        measured: true,
        augmented: false,
      },
    ]);
  });

  it("may have no table, or one without these entries", () => {
    for (const bytes of [new Uint8Array(4096), firmwareImage({})]) {
      const firmware = parseFirmware(bytes);
      expect(firmware.entries.size).toBe(0);
      expect(parseSevMetadata(firmware)).toBeUndefined();
      expect(parseTdxMetadata(firmware)).toBeUndefined();
      expect(sevResetVector(firmware)).toBeUndefined();
      expect(sevHashTableGpa(firmware)).toBeUndefined();
    }
  });

  it("has no table of hashes when that lies at zero", () => {
    expect(sevHashTableGpa(parseFirmware(firmwareImage({ hashTable: { gpa: 0, size: 0 } })))).toBeUndefined();
  });

  it("is a whole number of pages with a table that fits", () => {
    expect(code(() => parseFirmware(new Uint8Array(4095)))).toBe("bad-value");
    expect(code(() => parseFirmware(new Uint8Array()))).toBe("bad-value");
    const size = (bytes: number) => {
      const copy = image.slice();
      copy.set([bytes & 0xff, bytes >> 8], 4096 - 32 - 18);
      return code(() => parseFirmware(copy));
    };
    expect(size(4096)).toBe("out-of-range");
    expect(size(17)).toBe("out-of-range");
    const entry = image.slice();
    entry.set([0, 0], 4096 - 32 - 18 - 18);
    expect(code(() => parseFirmware(entry))).toBe("out-of-range");
  });

  it.each([
    ["another signature", patched("ASEV", 0, 0), "bad-magic"],
    ["another version", patched("ASEV", 8, 2), "bad-version"],
    ["more sections than bytes", patched("ASEV", 12, 2), "out-of-range"],
    ["a section of an unknown type", patched("ASEV", 24, 5), "bad-value"],
    ["a section at no page", patched("ASEV", 16, 1), "out-of-range"],
    [
      "a section in the firmware itself",
      firmwareImage({ sev: [{ ...memory, gpa: 0xffff_f000 }] }),
      "out-of-range",
    ],
  ])("with SEV metadata that has %s is refused", (_, bytes, want) => {
    expect(sev(bytes)).toBe(want);
  });

  it.each([
    ["another signature", patched("TDVF", 0, 0), "bad-magic"],
    ["another version", patched("TDVF", 8, 2), "bad-version"],
    ["more sections than bytes", patched("TDVF", 12, 2), "out-of-range"],
    ["a section of an unknown type", patched("TDVF", 16 + 24, 9), "bad-value"],
    ["unknown attributes", patched("TDVF", 16 + 28, 4), "bad-value"],
    ["a section at no page", firmwareImage({ tdx: [{ ...volume, gpa: 0x800 }] }), "out-of-range"],
    ["a section above 4 GiB", firmwareImage({ tdx: [{ ...volume, gpa: 2 ** 40 }] }), "out-of-range"],
    ["more data than memory", firmwareImage({ tdx: [{ ...volume, rawSize: 0x1001 }] }), "out-of-range"],
    ["data that the image lacks", firmwareImage({ tdx: [{ ...volume, offset: 0x1000 }] }), "out-of-range"],
  ])("with TDX metadata that has %s is refused", (_, bytes, want) => {
    expect(tdx(bytes)).toBe(want);
  });

  it("is read or refused, and nothing else happens, whatever its tables", () => {
    const edits = fc.array(fc.tuple(fc.nat(0x7ff), fc.nat(255)), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(edits, (changes) => {
        const copy = image.slice();
        for (const [at, value] of changes) copy[0x800 + at] = value;
        sev(copy);
        tdx(copy);
      }),
      { numRuns: 300 },
    );
  });
});

const debian = "/usr/share/ovmf/OVMF.fd";
describe.runIf(existsSync(debian))("Debian's OVMF", () => {
  it("can start under SNP and in a TD, and takes no kernel's hashes", () => {
    const firmware = parseFirmware(readFileSync(debian));
    expect(sevHashTableGpa(firmware)).toBeUndefined();
    expect(sevResetVector(firmware)).toBeGreaterThan(0x80_0000);
    const types = parseSevMetadata(firmware)?.map(({ type }) => type);
    expect(types).toEqual(expect.arrayContaining(["memory", "secrets", "cpuid"]));
    expect(types).not.toContain("kernel-hashes");
    const sections = parseTdxMetadata(firmware)!;
    expect(sections.filter(({ measured }) => measured).map(({ type }) => type)).toEqual([
      "boot-firmware-volume",
    ]);
    expect(sections[0]!.gpa + sections[0]!.size).toBe(0x1_0000_0000);
  });
});
