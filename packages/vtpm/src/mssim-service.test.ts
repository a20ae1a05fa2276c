import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import {
  CommandSizes,
  MssimService,
  SimulatorConnection,
  type SimulatorConnectionOptions,
  simulatorCommands,
} from "./mssim-service.ts";
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

async function simulator() {
  const host = new TpmHost({ store: new MemoryStore(), abrupt: true });
  const service = await MssimService.open({ host, command: anyPort, platform: anyPort });
  cleanups.push(() => service.close());
  const connect = async (port: "command" | "platform") => {
    const client = await LoopbackClient.connect({ port: service.portOf(port)!, host: "127.0.0.1" });
    cleanups.push(() => client.close());
    return client;
  };
  return { service, connect, command: await connect("command"), platform: await connect("platform") };
}

function bench(service: SimulatorConnectionOptions["service"], port: "command" | "platform") {
  const parts: Uint8Array[] = [];
  const connection = new SimulatorConnection({
    service,
    port,
    send: (reply) => void parts.push(reply),
    end() {},
  });
  return { connection, parts };
}

const u32 = (value: number): string => value.toString(16).padStart(8, "0");
const send = (command: string, locality = "00"): string =>
  `00000008${locality}${u32(command.length / 2)}${command}`;
const sent = (response: string): string => `${u32(response.length / 2)}${response}00000000`;

describe("MssimService", () => {
  it("runs commands once the platform gave power", async () => {
    const { command, platform } = await simulator();
    expect(await command.send(send(raw.startupClear)).read(18)).toBe(sent("80010000000a00000100"));
    expect(await platform.send("0000000100000000b").read(4)).toBe("00000000");
    expect(await command.send(send(raw.startupClear)).read(18)).toBe(sent(success));
  });

  it("keeps what a TPM knows when power is given again, and loses it when power was taken", async () => {
    const { command, platform } = await simulator();
    await platform.send("00000001").read(4);
    await command.send(send(raw.startupClear)).read(18);
    expect(await platform.send("000000010000000b").read(8)).toBe("0000000000000000");
    expect(await command.send(send(raw.startupClear)).read(18)).toBe(sent("80010000000a00000100"));
    expect(await platform.send("0000000200000001").read(8)).toBe("0000000000000000");
    // Power went without a Shutdown: there is nothing to resume.
    expect(await command.send(send(raw.startupState)).read(18)).toBe(sent("80010000000a000001c4"));
    expect(await command.send(send(raw.startupClear)).read(18)).toBe(sent(success));
  });

  it("shakes hands: version 1; a platform port, raw commands, physical presence", async () => {
    const { command } = await simulator();
    expect(await command.send("0000000f00000001").read(12)).toBe("000000010000000d00000000");
  });

  it("measures by the platform's signals, whatever the pieces", async () => {
    const { command, platform } = await simulator();
    await platform.send("00000001").read(4);
    await command.send(send(raw.startupClear)).read(18);
    expect(await platform.send("000000050000000600000003aabbcc0000000700000000").read(12)).toBe(
      "00".repeat(12),
    );
    const pcr17 = await command.send(send("8001000000140000017e00000001000b03000002")).read(4 + 62 + 4);
    // SHA-256 over 32 bytes of 0 and the SHA-256 of aabbcc.
    expect(pcr17).toMatch(/00200*/);
    expect(pcr17.slice(-72, -8)).not.toBe("00".repeat(32));
  });

  it("tells the largest command and response since it was asked", async () => {
    const { command, platform } = await simulator();
    await platform.send("00000001").read(4);
    await command.send(send(raw.startupClear)).read(18);
    await command.send(send(raw.getRandom)).read(36);
    const sizes = "00000010" + "0000000c00000144" + "0000001c0000017b" + "00000000";
    expect(await platform.send("00000019").read(24)).toBe(sizes);
    expect(await platform.send("00000019").read(24)).toBe(`00000010${"00".repeat(20)}`);
  });

  it("has failure mode for tests, until power goes", async () => {
    const { command, platform } = await simulator();
    await platform.send("00000001").read(4);
    await command.send(send(raw.startupClear)).read(18);
    expect(await platform.send("0000001e").read(4)).toBe("00000000");
    expect(await command.send(send(raw.getRandom)).read(18)).toBe(sent("80010000000a00000101"));
    expect(await platform.send("00000011").read(4)).toBe("00000000");
    expect(await command.send(send(raw.startupClear)).read(18)).toBe(sent(success));
  });

  it.each([
    ["a timer that did not run out", "0000001a40000110", "0000000000000000"],
    ["SET_FW_HASH", "0000002300000001", "00000000"],
    ["SET_FW_SVN", "0000002400000001", "00000000"],
  ])("answers %s", async (_, request, reply) => {
    const { platform } = await simulator();
    expect(await platform.send(request).read(reply.length / 2)).toBe(reply);
  });

  it("answers an unknown request with 1 and ends the connection", async () => {
    const { command } = await simulator();
    expect(await command.send("000000ff").read(5)).toBe("00000001");
  });

  it("ends every long command while CANCEL_ON holds", async () => {
    const searches = new HeldSearches();
    const host = new TpmHost({ store: new MemoryStore(), abrupt: true, searchKey: searches.begin });
    const service = await MssimService.open({ host, command: anyPort, platform: anyPort });
    cleanups.push(() => service.close());
    const connect = (port: "command" | "platform") =>
      LoopbackClient.connect({ port: service.portOf(port)!, host: "127.0.0.1" });
    const [command, platform] = [await connect("command"), await connect("platform")];
    cleanups.push(
      () => command.close(),
      () => platform.close(),
    );
    await platform.send("00000001").read(4);
    await command.send(send(raw.startupClear)).read(18);
    command.send(send(createRsaPrimary(3072)));
    while (searches.outcomes.length === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(await platform.send("00000009").read(4)).toBe("00000000");
    expect(await command.read(18)).toBe(sent("80010000000a00000909"));
    expect(await command.send(send(createRsaPrimary(3072))).read(18)).toBe(sent("80010000000a00000909"));
    expect(await platform.send("0000000a").read(4)).toBe("00000000");
    command.send(send(createRsaPrimary(3072)));
    while (searches.outcomes.length === 1) await new Promise((resolve) => setImmediate(resolve));
    searches.end();
    expect((await command.read(18)).slice(8)).toMatch(/^8002[0-9a-f]{8}0000000080000000/);
    expect(searches.outcomes).toEqual(["canceled", "found"]);
  });

  it("ends a connection by SESSION_END without a word, and goes on serving", async () => {
    const { command, connect } = await simulator();
    expect(await command.send("00000014").read(1)).toBe("");
    expect(await (await connect("command")).send("0000000f00000001").read(12)).toMatch(/^00000001/);
  });

  it("ends by STOP", async () => {
    const { service, platform } = await simulator();
    platform.send("00000015");
    await service.ended;
  });

  it("answers the same however the bytes are cut, and any bytes without an exception", () => {
    const host = new TpmHost({ store: new MemoryStore(), abrupt: true });
    const service = { host, sizes: new CommandSizes(), stop() {} };
    const codes = simulatorCommands.map(({ code }) => code);
    const request = fc
      .tuple(fc.constantFrom(...codes, 99), fc.uint8Array({ maxLength: 30 }))
      .map(([code, body]) => Buffer.concat([Buffer.from(u32(code), "hex"), body]));
    fc.assert(
      fc.property(
        fc.array(request, { maxLength: 8 }),
        fc.constantFrom("command", "platform"),
        (requests, port) => {
          const { connection } = bench(service, port as "command" | "platform");
          for (const bytes of requests) connection.receive(bytes);
        },
      ),
      { numRuns: 300 },
    );
    const whole = `0000000f00000001${send(raw.readClock)}0000001000000000`;
    const replies = [1, 3, 1000].map((size) => {
      const { connection, parts } = bench(
        { host: new TpmHost({ store: new MemoryStore() }), sizes: new CommandSizes(), stop() {} },
        "command",
      );
      const bytes = Buffer.from(whole, "hex");
      for (let at = 0; at < bytes.length; at += size) connection.receive(bytes.subarray(at, at + size));
      return Buffer.concat(parts).toString("hex");
    });
    const expected = `000000010000000d00000000${sent("80010000000a00000100")}00000000`;
    expect(replies).toEqual([expected, expected, expected]);
  });
});
