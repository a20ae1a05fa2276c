import { once } from "node:events";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileNvStore } from "@entresol/tpm";
import { afterEach, describe, expect, it } from "vitest";
import { MOST_CLIENTS } from "./listening.ts";
import { SocketService, type SocketServiceOptions } from "./socket-service.ts";
import { MemoryStore } from "./state-store.ts";
import { HeldSearches } from "./testing/held-search.ts";
import { LoopbackClient, raw, success } from "./testing/loopback-client.ts";
import { createRsaPrimary } from "./testing/rsa-primary.ts";
import { TpmHost } from "./tpm-host.ts";

const anyPort = { kind: "tcp", port: 0, address: "127.0.0.1" } as const;
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "entresol-vtpm-"));
  cleanups.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

async function serve(options: Partial<SocketServiceOptions> = {}): Promise<SocketService> {
  const host = options.host ?? new TpmHost({ store: new MemoryStore() });
  const service = await SocketService.open({ data: anyPort, control: anyPort, ...options, host });
  cleanups.push(() => service.close());
  return service;
}

async function client(address: string | number | undefined): Promise<LoopbackClient> {
  const place = typeof address === "number" ? { port: address, host: "127.0.0.1" } : { path: address! };
  const connected = await LoopbackClient.connect(place);
  cleanups.push(() => connected.close());
  return connected;
}

/** Both ends of a connection, as a socketpair is. */
async function connectedPair(): Promise<[Socket, Socket]> {
  const path = join(folder(), "pair");
  const server: Server = createServer({ pauseOnConnect: true });
  server.listen(path);
  await once(server, "listening");
  const accepted = once(server, "connection");
  const near = await client(path);
  const [far] = (await accepted) as [Socket];
  cleanups.push(() => {
    far.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return [near.socket, far];
}

/**
 * A control client that can send descriptors (SCM_RIGHTS), as QEMU does with CMD_SET_DATAFD. Two handles share its descriptor, so the one that
 * writes has to be opened before the other reads.
 */
async function descriptorClient(path: string) {
  const socket = connect({ path });
  socket.pause();
  await once(socket, "connect");
  interface Pipe {
    open(descriptor: number): number;
    writeUtf8String(request: object, text: string, handle: object): number;
  }
  const { binding } = process as unknown as { binding: (name: string) => unknown };
  const { Pipe, constants } = binding("pipe_wrap") as {
    Pipe: new (kind: number) => Pipe;
    constants: { IPC: number };
  };
  const { WriteWrap } = binding("stream_wrap") as { WriteWrap: new () => object };
  const handleOf = (of: Socket) => (of as unknown as { _handle: { fd: number } })._handle;
  const pipe = new Pipe(constants.IPC);
  expect(pipe.open(handleOf(socket).fd) ?? 0).toBe(0);
  const client = LoopbackClient.over(socket);
  cleanups.push(() => client.close());
  socket.resume();
  const pass = (text: string, passed: Socket): void =>
    expect(pipe.writeUtf8String(new WriteWrap(), text, handleOf(passed))).toBe(0);
  return { client, pass };
}

describe("SocketService", () => {
  it("serves commands and control commands over TCP, to many clients at once", async () => {
    const service = await serve();
    const control = await client(service.controlAddress);
    expect(await control.send("0000000200000000").read(4)).toBe("00000000");
    const [first, second] = [await client(service.dataAddress), await client(service.dataAddress)];
    expect(await first.send(raw.startupClear).response()).toBe(success);
    expect(await second.send(raw.getRandom).response()).toMatch(/^80010000001c0000000000100*/);
    expect(await first.send(raw.extendPcr16).response()).toMatch(/^800200000013000000/);
    const other = await client(service.controlAddress);
    expect(await other.send("00000001").read(8)).toBe("000000000001ffff");
    expect(await second.send(raw.readPcr16).response()).toBe(await first.send(raw.readPcr16).response());
  });

  it("answers TPM_RC_INITIALIZE before the TPM has power", async () => {
    const service = await serve();
    const data = await client(service.dataAddress);
    expect(await data.send(raw.readClock).response()).toBe("80010000000a00000100");
  });

  it("takes a prefixed command at the locality that it names", async () => {
    const host = new TpmHost({ store: new MemoryStore() });
    host.start();
    host.startup(0);
    const data = await client((await serve({ host })).dataAddress);
    // PCR 20 is reset from locality 2 and above only.
    const reset = "80020000001b0000013d00000014000000094000000900000000" + "00";
    const prefix = (locality: number): string => `000000080${locality}0000001b`;
    expect((await data.send(prefix(0) + reset).read(18)).slice(8)).toBe("80010000000a0000090700000000");
    expect(await data.send(prefix(2) + reset).read(27)).toBe(
      `00000013${"80020000001300000000"}${"000000000000010000"}00000000`,
    );
  });

  it("ends a connection whose commands cannot be told apart any more", async () => {
    const service = await serve();
    const data = await client(service.dataAddress);
    expect(await data.send("8001ffffffff0000017b").read(11)).toBe("80010000000a00000142");
    const next = await client(service.dataAddress);
    expect(await next.send(raw.readClock).response()).toBe("80010000000a00000100");
  });

  it("ends a connection with its first response when it is asked to", async () => {
    const service = await serve({ oneCommand: true });
    const data = await client(service.dataAddress);
    expect(await data.send(raw.readClock).read(11)).toBe("80010000000a00000100");
  });

  it("listens on unix sockets with the mode that was asked for, in the place of a stale one", async () => {
    const path = join(folder(), "ctrl");
    const place = { kind: "unix", path, mode: 0o600 } as const;
    const service = await serve({ control: place });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(await (await client(path)).send("00000001").read(8)).toBe("000000000001ffff");
    await service.close();
    const left = createServer().listen(path);
    await once(left, "listening");
    cleanups.push(() => new Promise((resolve) => left.close(resolve)));
    const again = await serve({ control: place });
    expect(await (await client(path)).send("0000000f").read(8)).toBe("0000000000000000");
    expect(again.controlAddress).toBe(path);
  });

  it("takes the data connection that SET_DATAFD brings, one at a time", async () => {
    const path = join(folder(), "ctrl");
    const host = new TpmHost({ store: new MemoryStore() });
    const service = await SocketService.open({ host, control: { kind: "unix", path, mode: 0o600 } });
    cleanups.push(() => service.close());
    const { client: control, pass } = await descriptorClient(path);
    const [near, far] = await connectedPair();
    pass("\0\0\0\x10", far);
    expect(await control.read(4)).toBe("00000000");
    const data = LoopbackClient.over(near);
    expect(await data.send(raw.readClock).response()).toBe("80010000000a00000100");
    expect(await control.send("0000000200000000").read(4)).toBe("00000000");
    expect(await data.send(raw.startupClear).response()).toBe(success);
    const [, another] = await connectedPair();
    pass("\0\0\0\x10", another);
    expect(await control.read(4)).toBe("0000001f");
    expect(await data.send(raw.getRandom).response()).toMatch(/^80010000001c00000000/);
  });

  it("takes no more commands from a client that does not read, and all once it does", async () => {
    const host = new TpmHost({ store: new MemoryStore() });
    host.start();
    host.startup(0);
    const service = await serve({ host });
    const deaf = await client(service.dataAddress);
    deaf.socket.pause();
    // Capability of all commands: a response of some hundred bytes for 22.
    const ask = "8001000000160000017a000000020000011f00000100";
    const count = 20_000;
    deaf.send(ask.repeat(count));
    const other = await client(service.dataAddress);
    let before: number;
    do {
      before = host.commandCount;
      for (let i = 0; i < 20; i++) await other.send(raw.getRandom).response();
    } while (host.commandCount > before + 20);
    expect(host.commandCount).toBeLessThan(count);
    const size = (await other.send(ask).response()).length / 2;
    deaf.socket.resume();
    const all = await deaf.read(size * count);
    expect(all.length).toBe(2 * size * count);
    expect(host.commandCount).toBeGreaterThan(count);
  });

  it("turns a crowd away and goes on serving who is there, and who comes when it has gone", async () => {
    const service = await serve();
    const first = await client(service.controlAddress);
    expect(await first.send("0000000f").read(8)).toBe("0000000000000000");
    const crowd = await Promise.all(
      Array.from({ length: 2 * MOST_CLIENTS }, () => client(service.controlAddress)),
    );
    expect(await crowd.at(-1)!.send("0000000f").read(8)).toBe("");
    expect(await first.send("0000000f").read(8)).toBe("0000000000000000");
    for (const each of crowd) each.close();
    for (;;) {
      const next = await client(service.controlAddress);
      if ((await next.send("0000000f").read(8)) === "0000000000000000") break;
    }
  });

  it("outlives control clients that come and go at the same time", async () => {
    const path = join(folder(), "ctrl");
    const service = await SocketService.open({
      host: new TpmHost({ store: new MemoryStore() }),
      control: { kind: "unix", path, mode: 0o600 },
    });
    cleanups.push(() => service.close());
    // The service ends those who stop in the middle of a request by a timer, before it accepts others in the same turn: a descriptor's number that
    // is closed late is the next client's by then.
    const idle = await Promise.all(Array.from({ length: 20 }, () => LoopbackClient.connect({ path })));
    let left = idle.length;
    for (const each of idle)
      each
        .send("0000")
        .read(1)
        .then(() => {
          left--;
        });
    const visit = async (): Promise<void> => {
      while (left > 0) {
        const visitor = await LoopbackClient.connect({ path });
        expect(await visitor.send("0000000f").read(8)).toBe("0000000000000000");
        visitor.close();
      }
    };
    await Promise.all(Array.from({ length: 8 }, visit));
  });

  it("has no use for half a request, and none for a client that ends in the middle of one", async () => {
    const service = await serve();
    for (const half of ["00", "0000000d0000000000000001000fffff61", "000000070fffffff61"]) {
      const control = await client(service.controlAddress);
      control.send(half);
      control.socket.end();
      await control.read(8);
      control.close();
      const data = await client(service.dataAddress);
      data.send(`${raw.getRandom.slice(0, 10)}`);
      data.socket.end();
      expect(await data.read(1)).toBe("");
    }
    expect(await (await client(service.controlAddress)).send("00000001").read(8)).toBe("000000000001ffff");
  });

  describe("while a key is searched for a command", () => {
    const canceled = "80010000000a00000909";
    async function searching() {
      const searches = new HeldSearches();
      const host = new TpmHost({ store: new MemoryStore(), searchKey: searches.begin });
      host.start();
      host.startup(0);
      const service = await serve({ host });
      const [first, second, control] = [
        await client(service.dataAddress),
        await client(service.dataAddress),
        await client(service.controlAddress),
      ];
      first.send(createRsaPrimary(3072));
      while (searches.outcomes.length === 0) await new Promise((resolve) => setImmediate(resolve));
      return { searches, host, service, first, second, control };
    }

    it("answers control commands and new clients, and lets other commands stand in line", async () => {
      const { searches, host, service, first, second, control } = await searching();
      second.send(raw.getRandom);
      first.send(raw.getRandom + raw.readClock);
      expect(await control.send("00000001").read(8)).toBe("000000000001ffff");
      expect(await (await client(service.controlAddress)).send("0000000f").read(8)).toBe("0000000000000000");
      const before = host.commandCount;
      searches.end();
      expect(await first.response()).toMatch(/^8002[0-9a-f]{8}0000000080000000/);
      expect(await second.response()).toMatch(/^80010000001c00000000/);
      expect(await first.response()).toMatch(/^80010000001c00000000/);
      expect(await first.response()).toMatch(/^80010000002300000000/);
      expect([before, host.commandCount]).toEqual([2, 5]);
    });

    it.each([
      ["CANCEL_TPM_CMD", "00000009", 4, /^80010000001c00000000/],
      ["HASH_START", "00000006", 4, /^80010000001c00000000/],
      ["STOP", "0000000e", 4, /^80010000000a00000100$/],
      ["INIT", "0000000200000000", 4, /^80010000000a00000100$/],
    ])("%s ends the command, and the next one is run", async (_, request, length, next) => {
      const { searches, first, second, control } = await searching();
      second.send(raw.getRandom);
      expect(await control.send(request).read(length)).toBe("00".repeat(length));
      expect(await first.response()).toBe(canceled);
      expect(await second.response()).toMatch(next);
      expect(searches.outcomes).toEqual(["canceled"]);
    });

    it("a client that goes takes nothing along", async () => {
      const { searches, first, second } = await searching();
      first.close();
      second.send(raw.getRandom);
      searches.end();
      expect(await second.response()).toMatch(/^80010000001c00000000/);
      // The key is in a slot: the next one gets the next handle.
      expect(await second.send(createRsaPrimary(2048)).response()).toMatch(
        /^8002[0-9a-f]{8}0000000080000001/,
      );
    });

    it("gives out the state without the command", async () => {
      const { host, searches, first } = await searching();
      const other = new TpmHost({ store: new MemoryStore() });
      for (const kind of [1, 2] as const) other.setState(kind, false, host.getState(kind, true)!.bytes);
      other.start();
      expect(Buffer.from(other.execute(Buffer.from(createRsaPrimary(2048), "hex"))).toString("hex")).toMatch(
        /^8002[0-9a-f]{8}0000000080000000/,
      );
      searches.end();
      expect(await first.response()).toMatch(/^8002[0-9a-f]{8}0000000080000000/);
    });
  });

  it("ends after SHUTDOWN was answered", async () => {
    const service = await serve();
    const control = await client(service.controlAddress);
    expect(await control.send("00000003").read(4)).toBe("00000000");
    await service.ended;
  });

  it("ends with a data connection, or with a control connection, when it lives for it", async () => {
    for (const [options, channel] of [
      [{ terminate: true }, "dataAddress"],
      [{ terminateWithControl: true }, "controlAddress"],
    ] as const) {
      const service = await serve(options);
      (await client(service[channel])).close();
      await service.ended;
    }
  });

  it("closes what it opened when a channel cannot be listened on", async () => {
    const taken = await serve();
    const port = taken.dataAddress as number;
    await expect(
      SocketService.open({
        host: new TpmHost({ store: new MemoryStore() }),
        data: anyPort,
        control: { ...anyPort, port },
      }),
    ).rejects.toMatchObject({ code: "EADDRINUSE" });
  });

  it("keeps NV and, by STORE_VOLATILE, a running TPM in a folder", async () => {
    const path = folder();
    const open = async () => {
      const store = FileNvStore.open(path);
      const service = await serve({ host: new TpmHost({ store }) });
      const control = await client(service.controlAddress);
      expect(await control.send("0000000200000001").read(4)).toBe("00000000");
      return { store, service, control, data: await client(service.dataAddress) };
    };
    const before = await open();
    await before.data.send(raw.startupClear).response();
    await before.data.send(raw.extendPcr16).response();
    const pcr = await before.data.send(raw.readPcr16).response();
    expect(await before.control.send("0000000a").read(4)).toBe("00000000");
    await before.service.close();
    before.store.close();
    const after = await open();
    expect(await after.data.send(raw.readPcr16).response()).toBe(pcr);
    await after.service.close();
    after.store.close();
  });
});
