import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { asGpa, ScriptedHypervisor } from "@entresol/hypervisor";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { readSnapshot, writeSnapshot } from "./snapshot.ts";

const folder = mkdtempSync(join(tmpdir(), "entresol-snapshot-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const SIZE = 64 * 4096;
async function memory() {
  const partition = await new ScriptedHypervisor([]).createPartition({
    memory: SIZE,
    vcpus: 1,
    time: "virtual",
    seed: 1n,
  });
  return partition.memory;
}

describe("snapshot file", () => {
  it("brings back header and RAM, and leaves out pages of zeros", async () => {
    const path = join(folder, "a");
    const ram = await memory();
    ram.write(asGpa(3 * 4096 + 5), Uint8Array.of(1, 2, 3));
    ram.write(asGpa(SIZE - 1), Uint8Array.of(9));
    ram.fill(asGpa(10 * 4096), 2 * 4096, 0x77);
    writeSnapshot(path, { version: 1, note: "x" }, ram);
    expect(readFileSync(path).length).toBeLessThan(6 * 4096);
    expect(readdirSync(folder)).toEqual(["a"]);

    const snapshot = readSnapshot(path);
    expect(snapshot.header).toEqual({ version: 1, note: "x" });
    const other = await memory();
    snapshot.load(other);
    const before = new Uint8Array(SIZE);
    const after = new Uint8Array(SIZE);
    ram.read(asGpa(0), before);
    other.read(asGpa(0), after);
    expect(Buffer.compare(before, after)).toBe(0);
  });

  it("refuses a file that is cut short", async () => {
    const path = join(folder, "cut");
    const ram = await memory();
    ram.fill(asGpa(0), SIZE, 1);
    writeSnapshot(path, {}, ram);
    truncateSync(path, 4096 * 10);
    expect(() => readSnapshot(path)).toThrow(expect.objectContaining({ code: "bad-snapshot" }));
    truncateSync(path, 10);
    expect(() => readSnapshot(path)).toThrow(expect.objectContaining({ code: "bad-snapshot" }));
  });

  it("refuses a file in which any byte was changed", async () => {
    const path = join(folder, "flipped");
    const ram = await memory();
    ram.fill(asGpa(4096), 4096, 1);
    writeSnapshot(path, { some: "header" }, ram);
    const good = readFileSync(path);
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const bad = Buffer.from(good);
        bad[at] = bad[at]! ^ change;
        writeFileSync(path, bad);
        expect(() => readSnapshot(path)).toThrow(expect.objectContaining({ code: "bad-snapshot" }));
      }),
      { numRuns: 300 },
    );
  });

  it("refuses to load into RAM that is too small", async () => {
    const path = join(folder, "large");
    const ram = await memory();
    ram.fill(asGpa(SIZE - 4096), 4096, 1);
    writeSnapshot(path, {}, ram);
    const small = (
      await new ScriptedHypervisor([]).createPartition({ memory: 4096, vcpus: 1, time: "virtual", seed: 1n })
    ).memory;
    expect(() => readSnapshot(path).load(small)).toThrow(expect.objectContaining({ code: "bad-snapshot" }));
  });
});
