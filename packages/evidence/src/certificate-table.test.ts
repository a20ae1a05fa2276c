import { describe, expect, test } from "vitest";
import {
  buildCertificateTable,
  certificateTableEntryLayout,
  MAXIMUM_TABLE_ENTRIES,
  parseCertificateTable,
} from "./certificate-table.ts";
import { counted, sampleCertificateTable } from "./testing/sample-evidence.ts";

const vcek = "63da758d-e664-4564-adc5-f4b93be8accd";
const ask = "4ab7b379-bbac-4fe4-a02f-05aef327c782";
const entry = (guid: string, length: number, offset?: number) => ({
  guid,
  data: counted(length, 0x30),
  ...(offset === undefined ? {} : { offset }),
});
const refused = (code: string, offset: number) => expect.objectContaining({ code, offset });

describe("a table of certificates", () => {
  test("gives certificates by kind, GUIDs in either order of bytes", () => {
    const table = parseCertificateTable(sampleCertificateTable);
    expect(table.entries.map(({ kind, guidOrder, offset }) => [kind, guidOrder, offset])).toEqual([
      ["vcek", "text", 96],
      ["ask", "uefi", 176],
      [undefined, "text", 266],
    ]);
    expect(table.get("ask")).toEqual(counted(90, 0x30));
    expect(table.get("ark")).toBeUndefined();
    expect(table.map.get("certificates.0")).toMatchObject({ offset: 96, length: 80 });
    expect(table.findings.map(({ kind, offset }) => [kind, offset])).toEqual([
      ["unknown-value", 48],
      ["padding", 276],
    ]);
  });

  test("may be empty", () => {
    expect(parseCertificateTable(new Uint8Array(24)).entries).toEqual([]);
  });

  test("that does not end is truncated", () => {
    const open = buildCertificateTable([entry(vcek, 0)]).subarray(0, 24);
    new DataView(open.buffer).setUint32(16, 0, true);
    expect(() => parseCertificateTable(open)).toThrow(refused("truncated", 24));
    expect(() => parseCertificateTable(new Uint8Array(0))).toThrow(refused("truncated", 0));
  });

  test("with a certificate beyond its end is out of range", () => {
    const bytes = buildCertificateTable([entry(vcek, 10)]);
    expect(() => parseCertificateTable(bytes.subarray(0, bytes.length - 1))).toThrow(
      refused("out-of-range", 16),
    );
    // 32 bits do not wrap around.
    bytes.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 16);
    expect(() => parseCertificateTable(bytes)).toThrow(refused("out-of-range", 16));
  });

  test.each([
    ["each other", [entry(vcek, 10, 72), entry(ask, 10, 81)], 40],
    ["the entries", [{ ...entry(vcek, 10, 30), data: new Uint8Array(10) }], 16],
    [
      "the entries, in another order",
      [entry(vcek, 10, 90), { ...entry(ask, 10, 60), data: new Uint8Array(10) }],
      40,
    ],
  ])("whose certificates overlap %s is refused", (_, entries, offset) => {
    expect(() => parseCertificateTable(buildCertificateTable(entries))).toThrow(refused("bad-value", offset));
  });

  test("in which a GUID stands twice is refused, in whichever order of bytes", () => {
    const twice = [entry(vcek, 4), { ...entry(vcek, 4), guidOrder: "uefi" as const }];
    expect(() => parseCertificateTable(buildCertificateTable(twice))).toThrow(refused("bad-value", 24));
  });

  test("with more entries than any host has is refused", () => {
    const many = Array.from({ length: MAXIMUM_TABLE_ENTRIES + 1 }, (_, i) =>
      entry(`00000000-0000-0000-0000-${(i + 1).toString(16).padStart(12, "0")}`, 0),
    );
    expect(() => parseCertificateTable(buildCertificateTable(many))).toThrow(
      refused("bad-value", MAXIMUM_TABLE_ENTRIES * certificateTableEntryLayout.size),
    );
    expect(parseCertificateTable(buildCertificateTable(many.slice(1))).entries.length).toBe(
      MAXIMUM_TABLE_ENTRIES,
    );
  });

  test("ends with an entry that is zero throughout", () => {
    const bytes = buildCertificateTable([]);
    bytes[20] = 1;
    expect(() => parseCertificateTable(bytes)).toThrow(refused("bad-value", 16));
  });
});
