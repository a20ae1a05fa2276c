import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { configTables, configTablesMarkdown } from "./register-tables.ts";

describe("The tables of configuration registers", () => {
  it("are in specs/pci.md as the code has them", () => {
    const text = readFileSync(new URL("../../../../specs/pci.md", import.meta.url), "utf8");
    expect(text).toContain(configTablesMarkdown());
  });

  it("name each bit by one mask at most", () => {
    for (const { registers } of configTables) {
      for (const { name, bytes, reset, writable, clear = 0, status = 0, sticky = 0 } of registers) {
        const all = 2 ** (8 * bytes) - 1;
        for (const mask of [reset, writable, clear, status]) expect(mask, name).toBeLessThanOrEqual(all);
        expect(
          [(writable & clear) >>> 0, (writable & status) >>> 0, (sticky & ~writable) >>> 0],
          name,
        ).toEqual([0, 0, 0]);
      }
    }
  });
});
