import {
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { FileNvStore } from "./file-store.ts";
import { TpmStateError } from "./saved-state.ts";
import { SINGLE_FILE_SIZE, SingleFile } from "./single-file.ts";

const folder = mkdtempSync(join(tmpdir(), "entresol-single-file-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let files = 0;
const newPath = (): string => join(folder, `tpm${files++}`);
const open = (path: string): FileNvStore => FileNvStore.open(path, { files: new SingleFile(0o600) });
const state = (value: number, length = 3000): Uint8Array => new Uint8Array(length).fill(value);

describe("a store in one file", () => {
  test("keeps both kinds of state, in a file that is made with the mode asked for", () => {
    const path = newPath();
    const store = open(path);
    expect([store.load(), store.loadVolatile()]).toEqual([undefined, undefined]);
    for (let i = 1; i <= 5; i++) store.commit(state(i, 3000 - i));
    store.saveVolatile(state(9));
    store.close();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(path).size).toBeLessThanOrEqual(SINGLE_FILE_SIZE);
    const again = open(path);
    expect(again.load()).toEqual(state(5, 2995));
    expect(again.epoch).toBe(5n);
    expect(again.loadVolatile()).toEqual(state(9));
    again.commit(state(6));
    expect(again.loadVolatile()).toBe(undefined);
    again.deleteVolatile();
    again.close();
    expect(() => again.load()).toThrow("the store is closed");
  });

  test("falls back to the generation before, whatever is written into the newest one", () => {
    const path = newPath();
    const store = open(path);
    store.commit(state(1));
    store.commit(state(2));
    store.close();
    const bytes = readFileSync(path);
    // The second commit is in the other area.
    const areas = [4096, 4096 + 2 ** 20].map((at) => at + 500);
    const outcomes = areas.map((at) => {
      const torn = Buffer.from(bytes);
      torn.fill(0xee, at, at + 200);
      writeFileSync(path, torn);
      const damaged = open(path);
      const found = damaged.load()?.[0];
      expect(damaged.fellBack).toBe(true);
      damaged.close();
      return found;
    });
    expect(outcomes.toSorted()).toEqual([1, 2]);
  });

  test("falls back when the beginning of an area is damaged, and makes that anew", () => {
    const path = newPath();
    const store = open(path);
    for (let i = 1; i <= 3; i++) store.commit(state(i));
    store.close();
    const bytes = readFileSync(path);
    const second = 4096 + 2 ** 20;
    for (const at of [0, 3, 4, 7, 8, 9, 11]) {
      for (const value of at === 7 ? [0, 0xff] : [0xff]) {
        const damaged = Buffer.from(bytes);
        if (damaged[second + at] === value) continue;
        damaged[second + at] = value;
        writeFileSync(path, damaged);
        const next = open(path);
        expect(next.load()).toEqual(state(3));
        // Behind that is whether there is a file, and its length, which may be any that is not too short.
        if (at < 7) expect(next.fellBack).toBe(true);
        next.commit(state(4));
        next.close();
        const again = open(path);
        expect([again.load(), again.fellBack]).toEqual([state(4), false]);
        again.close();
      }
    }
  });

  test("torn at any byte of a write holds the state before it", () => {
    const path = newPath();
    const store = open(path);
    store.commit(state(1, 80));
    store.commit(state(2, 80));
    const before = readFileSync(path);
    store.commit(state(3, 60));
    store.close();
    const after = readFileSync(path);
    // The area that was written: 12 bytes of header, 48 around the state.
    for (let at = 4096; at <= 4096 + 12 + 48 + 80; at += at < 4096 + 12 ? 1 : 9)
      for (const [first, last] of [
        [before, after],
        [after, before],
      ] as const) {
        const torn = Buffer.concat([first.subarray(0, at), last.subarray(at)]);
        writeFileSync(path, torn);
        const next = open(path);
        const [found] = next.load()!;
        next.close();
        // What is behind the end of the new state is nobody's.
        const whole = torn.subarray(0, 4096 + 12 + 48 + 60).equals(after.subarray(0, 4096 + 12 + 48 + 60));
        expect(found).toBe(whole ? 3 : 2);
      }
  });

  test("writes on after a first commit that was cut off", () => {
    const path = newPath();
    const store = open(path);
    store.commit(state(1));
    store.close();
    truncateSync(path, 4096 + 20);
    expect(() => open(path).load()).toThrow(TpmStateError);
    truncateSync(path, 0);
    const again = open(path);
    expect(again.load()).toBe(undefined);
    again.commit(state(2));
    expect(again.load()).toEqual(state(2));
    again.close();
  });

  test("erases all that was there", () => {
    const path = newPath();
    const store = open(path);
    store.commit(state(1));
    store.saveVolatile(state(2));
    store.erase();
    store.close();
    const again = open(path);
    expect([again.load(), again.loadVolatile()]).toEqual([undefined, undefined]);
    again.close();
  });

  test("takes nothing for a state that is none, and follows no link", () => {
    const other = newPath();
    writeFileSync(other, "x".repeat(10_000));
    expect(() => open(other).load()).toThrow(expect.objectContaining({ code: "malformed" }));
    expect(readFileSync(other, "utf8")).toBe("x".repeat(10_000));
    const link = newPath();
    symlinkSync(other, link);
    expect(() => open(link)).toThrow(expect.objectContaining({ code: "ELOOP" }));
    expect(() => FileNvStore.open(newPath(), { files: new SingleFile(undefined) })).toThrow(
      expect.objectContaining({ code: "ENOENT" }),
    );
    expect(() => open("/dev/null")).toThrow(expect.objectContaining({ code: "malformed" }));
    const store = open(newPath());
    expect(() => store.commit(state(0, 2 ** 20))).toThrow(RangeError);
    store.close();
  });
});
