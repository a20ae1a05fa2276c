import { nodeProvider, searchKey } from "@entresol/tpm";
import { describe, expect, it } from "vitest";
import { type KeySearcher, searchOnThread } from "./key-search-thread.ts";
import { MemoryStore } from "./state-store.ts";
import { HeldSearches } from "./testing/held-search.ts";
import { raw, success } from "./testing/loopback-client.ts";
import { createRsaPrimary } from "./testing/rsa-primary.ts";
import { ThreadExecutor } from "./thread-executor.ts";
import { TpmHost } from "./tpm-host.ts";

/** The compiled thread: Node runs no TypeScript. */
const program = new URL("../dist/key-search-worker.js", import.meta.url);
const bytes = (hex: string): Uint8Array => Buffer.from(hex, "hex");
const hex = (data: Uint8Array | undefined): string | undefined =>
  data === undefined ? undefined : Buffer.from(data).toString("hex");
const long = bytes(createRsaPrimary(3072));

function started(begin: KeySearcher = (search) => searchOnThread(search, program)) {
  const executor = new ThreadExecutor(
    (search) => new TpmHost({ store: new MemoryStore(), searchKey: search }),
    begin,
  );
  executor.power(true);
  executor.start(bytes(raw.startupClear), 0);
  expect(hex(executor.poll())).toBe(success);
  return executor;
}

describe("ThreadExecutor", () => {
  it("has the response of a short command at once", () => {
    const executor = started();
    executor.start(bytes(raw.getRandom), 0);
    expect(executor.busy).toBe(true);
    expect(hex(executor.poll())).toMatch(/^80010000001c00000000/);
    expect(executor.busy).toBe(false);
    expect(executor.poll()).toBe(undefined);
  });

  it("lets another thread search for a long key, and finds its end out by asking", () => {
    const executor = started();
    executor.start(long, 0);
    expect(executor.busy).toBe(true);
    expect(executor.poll()).toBe(undefined);
    expect(hex(executor.finish())).toMatch(/^8002[0-9a-f]{8}0000000080000000/);
    expect(executor.busy).toBe(false);
  });

  it("shows a command that executes until its key is found", () => {
    const search = new HeldSearches();
    const executor = started(search.begin);
    executor.start(long, 0);
    expect([executor.poll(), executor.busy]).toEqual([undefined, true]);
    // A fault of the caller.
    executor.start(bytes(raw.getRandom), 0);
    search.end();
    expect(hex(executor.poll())).toMatch(/^8002[0-9a-f]{8}0000000080000000/);
  });

  it("ends the search when the command is canceled, and answers the next one", () => {
    const search = new HeldSearches();
    const executor = started(search.begin);
    executor.start(long, 0);
    executor.cancel();
    expect(search.outcomes).toEqual(["canceled"]);
    expect(hex(executor.poll())).toBe("80010000000a00000909");
    executor.start(bytes(raw.getRandom), 0);
    executor.cancel();
    expect(hex(executor.poll())).toMatch(/^80010000001c00000000/);
  });

  it("loses the command with power", () => {
    const search = new HeldSearches();
    const executor = started(search.begin);
    executor.start(long, 0);
    executor.power(true);
    expect([executor.busy, executor.poll()]).toEqual([false, undefined]);
    expect(search.outcomes).toEqual(["canceled"]);
    executor.start(bytes(raw.startupClear), 0);
    expect(hex(executor.poll())).toBe(success);
  });

  it("measures, saves and restores after the command that runs", () => {
    const search = new HeldSearches();
    const executor = started(search.begin);
    executor.start(long, 0);
    const state = executor.save();
    expect(hex(state.response)).toMatch(/^8002[0-9a-f]{8}0000000080000000/);
    const other = started(search.begin);
    other.restore(state);
    expect(hex(other.poll())).toBe(hex(executor.poll()));
    other.start(long, 0);
    other.hashStart();
    other.hashData(Uint8Array.of(1));
    other.hashEnd();
    expect(hex(other.poll())).toMatch(/^8002[0-9a-f]{8}0000000080000001/);
    expect(other.established).toBe(true);
  });
});

describe("a search on another thread", () => {
  const search = { bits: 2048, exponent: 0, derivation: 1 };
  const draws = [1, 2, 3].map((value) => new Uint8Array(128).fill(value));
  const key = searchKey(nodeProvider, { ...search, draws });

  it("finds the same key, asked for, waited for and told", async () => {
    const polled = searchOnThread({ ...search, draws }, program);
    let found = polled.poll();
    while (found === undefined) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      found = polled.poll();
    }
    expect(found).toEqual(key);
    expect(searchOnThread({ ...search, draws }, program).wait()).toEqual(key);
    const told = new Promise((resolve) => searchOnThread({ ...search, draws }, program).whenFound(resolve));
    expect(await told).toEqual(key);
  });

  it("is made here when there is no such thread", async () => {
    const nowhere = new URL("./no-such-thread.js", import.meta.url);
    const told = new Promise((resolve) => searchOnThread({ ...search, draws }, nowhere).whenFound(resolve));
    expect(await told).toEqual(key);
    // Also for who only asks: a thread that ends without a key takes nobody along.
    const polled = searchOnThread({ ...search, draws }, nowhere);
    let found = polled.poll();
    while (found === undefined) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      found = polled.poll();
    }
    expect(found).toEqual(key);
  });

  it("tells nothing after it was canceled", async () => {
    let told = false;
    const canceled = searchOnThread({ ...search, draws }, program);
    canceled.whenFound(() => {
      told = true;
    });
    canceled.cancel();
    await new Promise((resolve) => searchOnThread({ ...search, draws }, program).whenFound(resolve));
    expect(told).toBe(false);
  });
});
