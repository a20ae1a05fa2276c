import { ManualTime } from "@entresol/devices";
import { Tpm } from "@entresol/tpm";
import { afterEach, describe, expect, it } from "vitest";
import { CrbDevice } from "./crb.ts";
import { InlineExecutor } from "./inline-executor.ts";
import { MssimService } from "./mssim-service.ts";
import { SocketService } from "./socket-service.ts";
import { MemoryStore } from "./state-store.ts";
import { SvsmVtpm, svsmRequest } from "./svsm-protocol.ts";
import { LoopbackClient, raw } from "./testing/loopback-client.ts";
import { TisDevice } from "./tis.ts";
import { TpmHost } from "./tpm-host.ts";

/* One engine, many doors: what a TPM answers does not depend on the way by which a command came. */

const anyPort = { kind: "tcp", port: 0, address: "127.0.0.1" } as const;
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const password = "0000000940000009000000" + "0000";
/** A boot as firmware and Linux make it, with some commands that fail; nothing in it is random but what is random by name. */
const transcript: readonly string[] = [
  raw.startupState,
  raw.startupClear,
  raw.startupClear,
  "80010000000b0000014301",
  "8001000000160000017a000000050000000000000008",
  "8001000000160000017a000000060000010000000040",
  "8001000000160000017a000000020000011f00000100",
  raw.extendPcr16,
  raw.readPcr16,
  "8001000000140000017e00000001000b03000002",
  `80020000001b0000013d00000010${password}`,
  raw.readPcr16,
  // Hash of 3 bytes; an unknown command; a wrong size; a session area that is cut off.
  "8001000000150000017d0003616263000b40000007",
  "80010000000a00000fff",
  "80010000000c0000017b00",
  "80020000000e0000018200000010",
  "8001000000160000017a000000010000000000000020",
  "80010000000c000001450000",
];

const bytes = (hex: string): Uint8Array => Buffer.from(hex, "hex");
const hex = (data: Uint8Array): string => Buffer.from(data).toString("hex");
const u32 = (value: number): string => value.toString(16).padStart(8, "0");
/** Time stands still: properties tell it. */
const tpm = { now: () => 0 };
const newHost = (): TpmHost => new TpmHost({ store: new MemoryStore(), tpm, abrupt: true });

/** A stream of bytes has no place for a command whose length is not that of its header. */
const streamable = transcript.filter(
  (command) => Number.parseInt(command.slice(4, 12), 16) === command.length / 2,
);

/** `bufferSize` is a property that the TPM tells. */
function byEngine(commands: readonly string[], bufferSize = 4096): string[] {
  const engine = new Tpm(tpm);
  engine.bufferSize = bufferSize;
  return commands.map((command) => hex(engine.execute(bytes(command))));
}

const readAll = (count: number, read: (index: number) => number): string =>
  hex(Uint8Array.from({ length: count }, (_, i) => read(i)));

async function connect(port: number | string | undefined): Promise<LoopbackClient> {
  const client = await LoopbackClient.connect({ port: port as number, host: "127.0.0.1" });
  cleanups.push(() => client.close());
  return client;
}

describe("one transcript", () => {
  it("has the same responses through swtpm's sockets, with and without prefix, as from the engine", async () => {
    const host = newHost();
    host.start();
    const service = await SocketService.open({ host, data: anyPort });
    cleanups.push(() => service.close());
    const client = await connect(service.dataAddress);
    const responses: string[] = [];
    for (const [i, command] of streamable.entries()) {
      if (i % 2 === 0) responses.push(await client.send(command).response());
      else {
        client.send(`0000000800${u32(command.length / 2)}${command}`);
        const length = Number.parseInt(await client.read(4), 16);
        responses.push(await client.read(length));
        expect(await client.read(4)).toBe("00000000");
      }
    }
    expect(responses).toEqual(byEngine(streamable));
  });

  it("has the same responses through the simulator's protocol as from the engine", async () => {
    const service = await MssimService.open({ host: newHost(), command: anyPort, platform: anyPort });
    cleanups.push(() => service.close());
    await (await connect(service.portOf("platform"))).send("00000001").read(4);
    const client = await connect(service.portOf("command"));
    const responses: string[] = [];
    for (const command of transcript) {
      client.send(`0000000800${u32(command.length / 2)}${command}`);
      responses.push(await client.read(Number.parseInt(await client.read(4), 16)));
      expect(await client.read(4)).toBe("00000000");
    }
    expect(responses).toEqual(byEngine(transcript));
  });

  it("has the same responses through the SVSM protocol as from the engine", () => {
    const host = newHost();
    host.start();
    const svsm = new SvsmVtpm(host);
    const responses = transcript.map((command) => {
      const page = new Uint8Array(4096);
      page.set(svsmRequest(bytes(command)));
      expect(svsm.command(page)).toBe(0);
      return hex(page.subarray(4, 4 + new DataView(page.buffer).getUint32(0, true)));
    });
    expect(responses).toEqual(byEngine(transcript));
  });

  it("has the same responses through the registers of a CRB as from the engine", () => {
    const executor = new InlineExecutor(newHost());
    const crb = new CrbDevice({ name: "tpm", executor, timebase: new ManualTime() });
    crb.reset();
    const responses = streamable.map((command) => {
      crb.mmioWrite(0x08, 4, 1);
      crb.mmioWrite(0x40, 4, 1);
      bytes(command).forEach((byte, i) => {
        crb.mmioWrite(0x80 + i, 1, byte);
      });
      crb.mmioWrite(0x4c, 4, 1);
      expect(crb.mmioRead(0x4c, 4)).toBe(0);
      const length = Number.parseInt(
        readAll(4, (i) => crb.mmioRead(0x82 + i, 1)),
        16,
      );
      const response = readAll(length, (i) => crb.mmioRead(0x80 + i, 1));
      crb.mmioWrite(0x40, 4, 2);
      crb.mmioWrite(0x08, 4, 2);
      return response;
    });
    expect(responses).toEqual(byEngine(streamable, 0xf80));
  });

  it("has the same responses through the FIFO of a TIS as from the engine", () => {
    const executor = new InlineExecutor(newHost());
    const tis = new TisDevice({ name: "tpm", executor, timebase: new ManualTime() });
    tis.reset();
    // A FIFO takes as much as the header says, and does not go before.
    const responses = streamable.map((command) => {
      tis.mmioWrite(0x00, 1, 0x02);
      tis.mmioWrite(0x18, 1, 0x40);
      for (const byte of bytes(command)) tis.mmioWrite(0x24, 1, byte);
      tis.mmioWrite(0x18, 1, 0x20);
      const response = readAll((tis.mmioRead(0x18, 4) >>> 8) & 0xffff, () => tis.mmioRead(0x24, 1));
      tis.mmioWrite(0x18, 1, 0x40);
      tis.mmioWrite(0x00, 1, 0x20);
      return response;
    });
    expect(responses).toEqual(byEngine(streamable));
  });
});
