import { execFileSync } from "node:child_process";
import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { type EpochAnchor, FileNvStore } from "./file-store.ts";
import { type TpmStateCode, TpmStateError } from "./saved-state.ts";
import { openState, StateKey, StateKind, sealState } from "./sealed-state.ts";
import { type StoreFiles, systemFiles } from "./store-files.ts";

const secret = Uint8Array.from({ length: 32 }, (_, i) => i);
const otherSecret = new Uint8Array(32).fill(9);
const key = new StateKey(secret);
const otherKey = new StateKey(otherSecret);
const state = (n: number): Uint8Array => new Uint8Array(200 + n).fill(n);
/** Now longer, now shorter than the one before. */
const uneven = (n: number): Uint8Array => new Uint8Array(200 + ((n * 37) % 61)).fill(n);

function code(action: () => unknown): TpmStateCode | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    if (error instanceof TpmStateError) return error.code;
    throw error;
  }
}

const folders: string[] = [];
function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "entresol-tpm-store-"));
  folders.push(path);
  return path;
}
afterEach(() => {
  for (const path of folders.splice(0)) rmSync(path, { recursive: true });
});

describe("a sealed state", () => {
  it.each([
    ["without a key", undefined],
    ["with a key", key],
  ])("%s opens with its epoch", (_, sealing) => {
    for (const data of [new Uint8Array(0), state(5)]) {
      const sealed = sealState(StateKind.permanent, 77n, data, sealing);
      expect(openState(StateKind.permanent, sealed, sealing)).toEqual({ epoch: 77n, state: data });
    }
  });

  it("with a key shows nothing, and is another one each time", () => {
    const data = new TextEncoder().encode("the owner's seed, the owner's seed");
    const sealed = sealState(StateKind.permanent, 1n, data, key);
    expect(Buffer.from(sealed).includes(Buffer.from("seed"))).toBe(false);
    expect(sealState(StateKind.permanent, 1n, data, key)).not.toEqual(sealed);
  });

  it("does not open by another key, without one, or with one that it was not made by", () => {
    const sealed = sealState(StateKind.permanent, 1n, state(1), key);
    expect(code(() => openState(StateKind.permanent, sealed, otherKey))).toBe("wrong-key");
    expect(code(() => openState(StateKind.permanent, sealed, undefined))).toBe("wrong-key");
    const plain = sealState(StateKind.permanent, 1n, state(1), undefined);
    expect(code(() => openState(StateKind.permanent, plain, key))).toBe("wrong-key");
  });

  it("of one kind is not taken for the other", () => {
    const sealed = sealState(StateKind.volatile, 1n, state(1), key);
    expect(code(() => openState(StateKind.permanent, sealed, key))).toBe("bad-magic");
  });

  it("with any bit turned, or cut short, does not open", () => {
    fc.assert(
      fc.property(fc.boolean(), fc.nat(), fc.nat({ max: 7 }), fc.boolean(), (encrypted, at, bit, cut) => {
        const sealing = encrypted ? key : undefined;
        const sealed = sealState(StateKind.permanent, 3n, state(20), sealing);
        const place = at % sealed.length;
        const changed = cut ? sealed.slice(0, place) : sealed.slice();
        if (!cut) changed[place]! ^= 1 << bit;
        expect(code(() => openState(StateKind.permanent, changed, sealing))).toBeDefined();
      }),
    );
  });

  it("of any bytes at all is refused by a TpmStateError", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.boolean(), (data, encrypted) => {
        expect(code(() => openState(StateKind.permanent, data, encrypted ? key : undefined))).toBeDefined();
      }),
    );
  });

  it("takes no key that is too short to be one", () => {
    expect(() => new StateKey(new Uint8Array(15))).toThrow(RangeError);
  });
});

describe("FileNvStore", () => {
  it("gives back what was committed last, in the next process", () => {
    const path = folder();
    const first = FileNvStore.open(path, { key: secret });
    expect(first.load()).toBeUndefined();
    for (let n = 1; n <= 5; n++) {
      first.commit(state(n));
      const next = FileNvStore.open(path, { key: secret });
      expect(next.load()).toEqual(state(n));
      expect(next.epoch).toBe(BigInt(n));
      next.close();
    }
    first.close();
  });

  it("keeps two generations and nothing else, readable by the owner only", () => {
    const path = folder();
    const store = FileNvStore.open(path);
    for (let n = 1; n <= 5; n++) store.commit(state(n));
    store.close();
    expect(readdirSync(path)).toEqual(["tpm2-0.state", "tpm2-1.state"]);
    for (const name of readdirSync(path)) expect(statSync(join(path, name)).mode & 0o777).toBe(0o600);
  });

  it("writes over the older generation, whatever the lengths, and leaves nothing of it", () => {
    const path = folder();
    const store = FileNvStore.open(path);
    const sizes = [900, 800, 300, 500, 2000, 40];
    for (const [n, size] of sizes.entries()) {
      store.commit(new Uint8Array(size).fill(n));
      expect(FileNvStore.open(path).load()).toEqual(new Uint8Array(size).fill(n));
    }
    const files = ["tpm2-0.state", "tpm2-1.state"].map((name) => readFileSync(join(path, name)));
    // 16 bytes of header, 32 of checksum.
    expect(files.map((file) => file.length)).toEqual([2048, 88]);
    expect(statSync(join(path, "tpm2-0.state")).ino).not.toBe(statSync(join(path, "tpm2-1.state")).ino);
    store.close();
  });

  it("makes a generation anew that somebody has removed or replaced while it was open", () => {
    const path = folder();
    const store = FileNvStore.open(path);
    for (let n = 1; n <= 4; n++) store.commit(state(n));
    rmSync(join(path, "tpm2-0.state"));
    renameSync(join(path, "tpm2-1.state"), join(path, "elsewhere"));
    writeFileSync(join(path, "tpm2-1.state"), "another file");
    rmSync(join(path, "elsewhere"));
    for (let n = 5; n <= 6; n++) {
      store.commit(state(n));
      expect(FileNvStore.open(path).load()).toEqual(state(n));
    }
    expect(FileNvStore.open(path).fellBack).toBe(false);
    store.close();
  });

  it("changes nothing in the folder before the first commit", () => {
    const path = folder();
    writeFileSync(join(path, "tpm2.state.tmp"), "of a process that writes");
    const store = FileNvStore.open(path);
    expect(store.load()).toBeUndefined();
    expect(readFileSync(join(path, "tpm2.state.tmp"), "utf8")).toBe("of a process that writes");
    store.commit(state(1));
    expect(readdirSync(path)).toEqual(["tpm2-0.state"]);
    store.close();
  });

  it("goes on where the last process ended, without being asked for what it holds", () => {
    const path = folder();
    FileNvStore.open(path).commit(state(1));
    FileNvStore.open(path).commit(state(2));
    const store = FileNvStore.open(path);
    expect(store.load()).toEqual(state(2));
    expect(store.epoch).toBe(2n);
  });

  it("takes the generation before when the newest is damaged, and says so", () => {
    const path = folder();
    const store = FileNvStore.open(path);
    store.commit(state(1));
    store.commit(state(2));
    const newest = join(path, "tpm2-1.state");
    const bytes = readFileSync(newest);
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(newest, bytes);
    const next = FileNvStore.open(path);
    expect(next.load()).toEqual(state(1));
    expect(next.fellBack).toBe(true);
    next.commit(state(3));
    const third = FileNvStore.open(path);
    expect(third.load()).toEqual(state(3));
    expect(third.fellBack).toBe(false);
  });

  it("says so as well when a generation has gone", () => {
    const path = folder();
    const store = FileNvStore.open(path);
    store.commit(state(1));
    const first = FileNvStore.open(path);
    first.load();
    expect(first.fellBack).toBe(false);
    store.commit(state(2));
    rmSync(join(path, "tpm2-1.state"));
    const next = FileNvStore.open(path);
    // Of the first commit there was no other one.
    expect([next.load(), next.fellBack]).toEqual([state(1), false]);
    store.commit(state(3));
    rmSync(join(path, "tpm2-1.state"), { force: true });
    const third = FileNvStore.open(path);
    expect([third.load(), third.fellBack]).toEqual([state(3), true]);
    // Or has been put in the place of the newer one.
    const both = FileNvStore.open(path);
    both.commit(state(4));
    cpSync(join(path, "tpm2-0.state"), join(path, "tpm2-1.state"));
    const fourth = FileNvStore.open(path);
    expect([fourth.load(), fourth.fellBack]).toEqual([state(3), true]);
  });

  it("takes no epoch that has none after it", () => {
    const path = folder();
    const store = FileNvStore.open(path);
    for (let n = 1; n <= 2; n++) store.commit(state(n));
    writeFileSync(
      join(path, "tpm2-0.state"),
      sealState(StateKind.permanent, 2n ** 64n - 1n, state(9), undefined),
    );
    const next = FileNvStore.open(path);
    expect([next.load(), next.fellBack]).toEqual([state(2), true]);
    next.commit(state(3));
    expect(FileNvStore.open(path).load()).toEqual(state(3));
  });

  it("with nothing but damage does not make a new TPM", () => {
    const path = folder();
    writeFileSync(join(path, "tpm2-0.state"), "no state");
    expect(code(() => FileNvStore.open(path).load())).toBe("bad-magic");
    expect(code(() => FileNvStore.open(path).commit(state(1)))).toBe("bad-magic");
  });

  it("does not open by another key, and leaves the files alone", () => {
    const path = folder();
    FileNvStore.open(path, { key: secret }).commit(state(1));
    expect(code(() => FileNvStore.open(path, { key: otherSecret }).commit(state(2)))).toBe("wrong-key");
    expect(FileNvStore.open(path, { key: secret }).load()).toEqual(state(1));
  });

  it("follows no links", () => {
    const path = folder();
    const elsewhere = join(folder(), "victim");
    writeFileSync(elsewhere, "precious");
    symlinkSync(elsewhere, join(path, "tpm2-0.state"));
    expect(() => FileNvStore.open(path).load()).toThrow(/ELOOP/);
    const other = folder();
    symlinkSync(elsewhere, join(other, "tpm2.state.tmp"));
    FileNvStore.open(other).commit(state(1));
    expect(readFileSync(elsewhere, "utf8")).toBe("precious");
  });

  it("finds a state out that is older than its anchor", () => {
    const path = folder();
    const anchor = countingAnchor();
    const store = FileNvStore.open(path, { anchor });
    store.commit(state(1));
    const old = readFileSync(join(path, "tpm2-0.state"));
    store.commit(state(2));
    store.commit(state(3));
    expect(FileNvStore.open(path, { anchor }).load()).toEqual(state(3));
    rmSync(join(path, "tpm2-1.state"));
    writeFileSync(join(path, "tpm2-0.state"), old);
    expect(code(() => FileNvStore.open(path, { anchor }).load())).toBe("rolled-back");
    rmSync(join(path, "tpm2-0.state"));
    expect(code(() => FileNvStore.open(path, { anchor }).load())).toBe("rolled-back");
  });

  it("goes on after a process that ended between the file and the anchor", () => {
    const path = folder();
    const anchor = countingAnchor();
    FileNvStore.open(path, { anchor }).commit(state(1));
    FileNvStore.open(path).commit(state(2));
    const store = FileNvStore.open(path, { anchor });
    expect(store.load()).toEqual(state(2));
    store.commit(state(3));
    expect(anchor.read()).toBe(3n);
  });

  it("keeps a volatile state until NV goes on or it is deleted", () => {
    const path = folder();
    const store = FileNvStore.open(path, { key: secret });
    store.commit(state(1));
    expect(store.loadVolatile()).toBeUndefined();
    store.saveVolatile(state(50));
    const next = FileNvStore.open(path, { key: secret });
    expect(next.loadVolatile()).toEqual(state(50));
    next.commit(state(2));
    expect(next.loadVolatile()).toBeUndefined();
    next.saveVolatile(state(51));
    next.deleteVolatile();
    expect(next.loadVolatile()).toBeUndefined();
  });

  it("with an anchor takes the last volatile state and none that was kept before it", () => {
    for (const anchor of [countingAnchor(), undefined]) {
      const path = folder();
      const options = anchor === undefined ? { key: secret } : { key: secret, anchor };
      const store = FileNvStore.open(path, options);
      store.commit(state(1));
      store.saveVolatile(state(50));
      const old = readFileSync(join(path, "tpm2-volatile.state"));
      store.saveVolatile(state(51));
      const next = FileNvStore.open(path, options);
      expect([next.load(), next.loadVolatile()]).toEqual([state(1), state(51)]);
      writeFileSync(join(path, "tpm2-volatile.state"), old);
      // Both are of one moment of NV: without an anchor nobody knows which was the last.
      expect(FileNvStore.open(path, options).loadVolatile()).toEqual(anchor ? undefined : state(50));
    }
  });

  it("that is erased begins anew, above what its anchor knows", () => {
    const path = folder();
    const anchor = countingAnchor();
    const store = FileNvStore.open(path, { anchor });
    for (let n = 1; n <= 3; n++) store.commit(state(n));
    store.saveVolatile(state(50));
    store.erase();
    expect(readdirSync(path)).toEqual([]);
    store.commit(state(4));
    expect(store.epoch).toBe(5n);
    expect(FileNvStore.open(path, { anchor }).load()).toEqual(state(4));
    const other = FileNvStore.open(path);
    other.erase();
    other.commit(state(5));
    expect(other.epoch).toBe(1n);
  });

  it("that is closed keeps nothing more", () => {
    const store = FileNvStore.open(folder());
    store.close();
    expect(() => store.commit(state(1))).toThrow("closed");
  });
});

function countingAnchor(): EpochAnchor {
  let seen: bigint | undefined;
  return {
    read: () => seen,
    advance(epoch) {
      seen = epoch;
    },
  };
}

/** Thrown in place of the operation at which the machine stops. */
class Stop extends Error {}

/** Files in memory that know what of them is durable: what was written and synced, under names whose folder was synced. */
class VolatileDisk implements StoreFiles {
  readonly #names = new Map<string, { content: Uint8Array; durable: Uint8Array }>();
  #durableNames = new Map<string, { content: Uint8Array; durable: Uint8Array }>();
  readonly #open = new Map<number, { content: Uint8Array; durable: Uint8Array } | "folder">();
  #next = 3;
  /** Operations until the machine stops. */
  left = Number.POSITIVE_INFINITY;

  #step(): void {
    if (this.left-- <= 0) throw new Stop();
  }

  read = (path: string): Uint8Array | undefined => this.#names.get(path)?.content.slice();
  create = (path: string): number => {
    this.#step();
    if (this.#names.has(path)) throw new Error("EEXIST");
    const file = { content: new Uint8Array(0), durable: new Uint8Array(0) };
    this.#names.set(path, file);
    this.#open.set(this.#next, file);
    return this.#next++;
  };
  reopen = (path: string): number | undefined => {
    const file = this.#names.get(path);
    if (file === undefined) return undefined;
    this.#open.set(this.#next, file);
    return this.#next++;
  };
  write = (file: number, bytes: Uint8Array): boolean => {
    const target = this.#open.get(file);
    if (target === undefined || target === "folder") throw new Error("EBADF");
    // It may stop in the middle, and what was there before is behind it then.
    const half = bytes.length >> 1;
    target.content = Uint8Array.of(...bytes.subarray(0, half), ...target.content.subarray(half));
    this.#step();
    target.content = Uint8Array.of(...bytes, ...target.content.subarray(bytes.length));
    this.#step();
    target.content = bytes.slice();
    this.#step();
    return [...this.#names.values()].includes(target);
  };
  sync = (file: number): void => {
    this.#step();
    const target = this.#open.get(file);
    if (target === undefined || target === "folder") throw new Error("EBADF");
    target.durable = target.content;
  };
  syncFolder = (file: number): void => {
    this.#step();
    if (this.#open.get(file) !== "folder") throw new Error("EBADF");
    this.#durableNames = new Map(this.#names);
  };
  close = (file: number): void => void this.#open.delete(file);
  rename = (from: string, to: string): void => {
    this.#step();
    this.#names.set(to, this.#names.get(from)!);
    this.#names.delete(from);
  };
  remove = (path: string): void => {
    this.#step();
    this.#names.delete(path);
  };
  openFolder = (): number => {
    this.#open.set(this.#next, "folder");
    return this.#next++;
  };

  /** The disk as the next process finds it: `namesKept`, names that were not synced are there all the same; `contentKept`, so is content. */
  afterStop(namesKept: boolean, contentKept: boolean): VolatileDisk {
    const disk = new VolatileDisk();
    for (const [name, file] of namesKept ? this.#names : this.#durableNames) {
      const content = contentKept ? file.content : file.durable;
      const left = { content, durable: content };
      disk.#names.set(name, left);
      disk.#durableNames.set(name, left);
    }
    return disk;
  }
}

describe("a commit that was cut off at any byte", () => {
  const sizes = [
    ["as long as the one before", 64, 64],
    ["longer", 64, 90],
    ["shorter", 90, 64],
  ] as const;

  /** The folder as it is, but for the first generation. */
  const looking = (first: Uint8Array): StoreFiles => {
    const read = (path: string): Uint8Array | undefined =>
      path.endsWith("0.state") ? first : systemFiles.read(path);
    return { ...systemFiles, read };
  };

  it.each(sizes)("of a state %s leaves the state before it, and the next one goes on", (_, older, newer) => {
    for (const sealing of [secret, undefined]) {
      const path = folder();
      const names = ["tpm2-0.state", "tpm2-1.state"].map((name) => join(path, name)) as [string, string];
      const options = sealing === undefined ? {} : { key: sealing };
      const store = FileNvStore.open(path, options);
      store.commit(new Uint8Array(older).fill(1));
      store.commit(new Uint8Array(77).fill(2));
      const before = readFileSync(names[0]);
      store.commit(new Uint8Array(newer).fill(3));
      store.close();
      const after = readFileSync(names[0]);
      const longest = Math.max(before.length, after.length);
      for (let at = 0; at <= longest; at++) {
        // Written in order, the end not cut off yet; only the last part.
        const torn = [
          Buffer.concat([after.subarray(0, at), before.subarray(at)]),
          Buffer.concat([before.subarray(0, at), after.subarray(at)]),
        ];
        // Only the new length; nothing but zeros where new blocks are.
        if (at % 16 === 0)
          torn.push(
            Buffer.concat([before, Buffer.alloc(longest)]).subarray(0, at),
            Buffer.concat([after.subarray(0, at), Buffer.alloc(longest)]).subarray(0, after.length),
          );
        for (const bytes of torn) {
          const next = FileNvStore.open(path, { ...options, files: looking(bytes) });
          const whole = bytes.equals(after) ? 3 : 2;
          expect(next.load()?.[0]).toBe(whole);
          expect(next.fellBack).toBe(whole === 2 && !bytes.equals(before));
          next.close();
        }
      }
      writeFileSync(names[0], after.subarray(0, 30));
      const next = FileNvStore.open(path, options);
      next.commit(state(4));
      next.close();
      expect(FileNvStore.open(path, options).load()).toEqual(state(4));
      expect(readFileSync(names[1]).length).toBe(before.length - older + 77);
    }
  });

  it("in both generations is refused, whatever is left: that is no new TPM", () => {
    const path = folder();
    const store = FileNvStore.open(path);
    for (let n = 1; n <= 2; n++) store.commit(state(n));
    store.close();
    for (const name of ["tpm2-0.state", "tpm2-1.state"]) truncateSync(join(path, name), 0);
    expect(code(() => FileNvStore.open(path).load())).toBe("malformed");
  });
});

describe("a clone of a TPM, with the anchor that both have", () => {
  it("is found out when it commits after the other, and has written nothing", () => {
    const anchor = countingAnchor();
    const [one, two] = [folder(), folder()];
    FileNvStore.open(one, { anchor }).commit(state(1));
    cpSync(one, two, { recursive: true });
    const [first, second] = [FileNvStore.open(one, { anchor }), FileNvStore.open(two, { anchor })];
    // Both have started: the state is as new as the anchor knows.
    expect([first.load(), second.load()]).toEqual([state(1), state(1)]);
    first.commit(state(2));
    expect(code(() => second.commit(state(3)))).toBe("rolled-back");
    expect(readdirSync(two)).toEqual(["tpm2-0.state"]);
    first.commit(state(4));
    expect(code(() => FileNvStore.open(two, { anchor }).load())).toBe("rolled-back");
  });
});

describe("a generation that is no file", () => {
  it("is replaced: the other one is there", () => {
    const path = folder();
    const store = FileNvStore.open(path);
    for (let n = 1; n <= 3; n++) store.commit(state(n));
    store.close();
    const name = join(path, "tpm2-1.state");
    for (const make of ["mkfifo", "mkdir"] as const) {
      rmSync(name, { recursive: true });
      execFileSync(make, [name]);
      const next = FileNvStore.open(path);
      expect(next.load()).toEqual(state(3));
      expect(next.fellBack).toBe(true);
      if (make === "mkfifo") {
        next.commit(state(3));
        expect(statSync(name).isFile()).toBe(true);
        next.commit(state(3));
      } else {
        // Nobody removes a folder unseen.
        expect(() => next.commit(state(4))).toThrow(/EISDIR/);
        expect(FileNvStore.open(path).load()).toEqual(state(3));
      }
      next.close();
    }
  });
});

describe("a machine that stops in the middle of a commit", () => {
  it.each([
    ["with what was written but not synced (a killed process)", true, true],
    ["without it, names kept", true, false],
    ["without it, names lost", false, false],
    ["with it, names lost", false, true],
  ])("%s: every committed state is there, or the one that was on its way", (_, namesKept, contentKept) => {
    let stops = 0;
    for (let at = 0; ; at++) {
      const disk = new VolatileDisk();
      disk.left = at;
      let done = 0;
      let started = 0;
      let stopped = false;
      try {
        const store = FileNvStore.open("/", { files: disk, key: secret });
        for (let n = 1; n <= 6; n++) {
          started = n;
          store.commit(uneven(n));
          done = n;
        }
      } catch (error) {
        expect(error).toBeInstanceOf(Stop);
        stopped = true;
      }
      if (!stopped) break;
      stops++;
      const left = FileNvStore.open("/", {
        files: disk.afterStop(namesKept, contentKept),
        key: secret,
      }).load();
      const number = left?.[0] ?? 0;
      expect([done, started], `stopped at operation ${at}`).toContain(number);
      if (number > 0) expect(left).toEqual(uneven(number));
    }
    // Two commits of at least create, three steps of a write, sync, rename and sync of the folder; four of a write and sync.
    expect(stops).toBeGreaterThanOrEqual(2 * 7 + 4 * 4);
  });
});
