import { mkdirSync, mkdtempSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { LockedState } from "./locked-state.ts";
import { SocketService } from "./socket-service.ts";
import { LoopbackClient, raw, success } from "./testing/loopback-client.ts";
import { TpmHost } from "./tpm-host.ts";

const root = mkdtempSync(join(tmpdir(), "entresol-vtpm-locked-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
let folders = 0;
function newFolder(): string {
  const path = join(root, `state${folders++}`);
  mkdirSync(path);
  return path;
}

const anyPort = { kind: "tcp", port: 0, address: "127.0.0.1" } as const;

/** A service as `--migration incoming,release-lock-outgoing` makes it; `source` begins with the lock. */
async function served(folder: string, source: boolean) {
  const state = new LockedState(folder);
  if (source) await state.lock();
  const host = new TpmHost({ store: state });
  const service = await SocketService.open({
    host,
    data: anyPort,
    control: anyPort,
    storage: state,
    handedOver: () => void state.unlock(),
  });
  const client = async (port: unknown) => {
    const connected = await LoopbackClient.connect({ port: port as number, host: "127.0.0.1" });
    cleanups.push(() => connected.close());
    return connected;
  };
  cleanups.push(async () => {
    await service.close();
    await state.unlock();
  });
  return { state, control: await client(service.controlAddress), data: await client(service.dataAddress) };
}

const u32 = (value: number): string => value.toString(16).padStart(8, "0");
/** Takes a state from a service, as QEMU does. */
async function stateOf(control: LoopbackClient, kind: number): Promise<string> {
  const header = await control.send(`0000000c00000001${u32(kind)}00000000`).read(16);
  expect(header.slice(0, 8)).toBe("00000000");
  return control.read(Number.parseInt(header.slice(24), 16));
}

/** NV_DefineSpace of 8 bytes at 0x01000001: it commits. */
const defineSpace =
  "80020000002d0000012a4000000100000009400000090000000000" + "0000" + "000e01000001000b0002000200000008";

describe("a state of which a copy is damaged", () => {
  it("is loaded from the other one, and whoever wants to know is told", async () => {
    const folder = newFolder();
    let told = 0;
    const state = new LockedState(folder, {}, "folder", () => told++);
    await state.lock();
    cleanups.push(() => state.unlock());
    for (const value of [1, 2]) state.commit(Uint8Array.of(value));
    expect([state.load(), told]).toEqual([Uint8Array.of(2), 0]);
    truncateSync(join(folder, "tpm2-1.state"), 20);
    expect([state.load(), told]).toEqual([Uint8Array.of(1), 1]);
  });
});

describe("storage that two services share", () => {
  it("cannot be read or written without its lock", () => {
    const state = new LockedState(newFolder());
    expect(state.held).toBe(false);
    for (const use of [
      () => state.load(),
      () => state.commit(new Uint8Array(8)),
      () => state.loadVolatile(),
      () => state.saveVolatile(new Uint8Array(8)),
      () => state.deleteVolatile(),
    ])
      expect(use).toThrow(expect.objectContaining({ name: "StateLockError", code: "locked" }));
  });

  it("is locked once for all who ask at the same time", async () => {
    const state = new LockedState(newFolder());
    await Promise.all([state.lock(), state.lock(), state.lock()]);
    expect(state.held).toBe(true);
    await state.unlock();
    await state.unlock();
    expect(state.held).toBe(false);
  });

  it("goes with a TPM that moves: the source lets go of it, the target takes it", async () => {
    const folder = newFolder();
    const source = await served(folder, true);
    const target = await served(folder, false);
    expect(await source.control.send("0000000200000000").read(4)).toBe("00000000");
    expect(await source.data.send(raw.startupClear).response()).toBe(success);
    await source.data.send(raw.extendPcr16).response();
    const pcr = await source.data.send(raw.readPcr16).response();
    const states = [await stateOf(source.control, 1), await stateOf(source.control, 2)];
    for (const [i, state] of states.entries())
      expect(
        await target.control.send(`0000000d00000000${u32(i + 1)}${u32(state.length / 2)}${state}`).read(4),
      ).toBe("00000000");
    expect([source.state.held, target.state.held]).toEqual([false, true]);
    expect(await target.control.send("0000000200000001").read(4)).toBe("00000000");
    expect(await target.data.send(raw.readPcr16).response()).toBe(pcr);
    // What the source would answer now is not kept: it fails instead.
    expect(await source.data.send(defineSpace).response()).toBe("80010000000a00000101");
    expect(await target.data.send(defineSpace).response()).toMatch(/^80020000001300000000/);
  });

  it("comes back to the source when the move has failed", async () => {
    const folder = newFolder();
    const source = await served(folder, true);
    await source.control.send("0000000200000000").read(4);
    await source.data.send(raw.startupClear).response();
    await stateOf(source.control, 2);
    expect(source.state.held).toBe(false);
    const target = new LockedState(folder);
    await target.lock({ retries: 100 });
    // LOCK_STORAGE, tried twice.
    expect(await source.control.send("0000001300000002").read(4)).toBe("00000009");
    await target.unlock();
    expect(await source.control.send("0000001300000064").read(4)).toBe("00000000");
    expect(source.state.held).toBe(true);
    expect(await source.data.send(defineSpace).response()).toMatch(/^80020000001300000000/);
  });
});
