import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { MssimService, SimulatorConnection, simulatorCommands } from "./mssim-service.ts";
import { MemoryStore } from "./state-store.ts";
import { LoopbackClient, raw, success } from "./testing/loopback-client.ts";
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
    const service = { host, stop: () => {} };
    const codes = simulatorCommands.map(({ code }) => code);
    const request = fc
      .tuple(fc.constantFrom(...codes, 99), fc.uint8Array({ maxLength: 30 }))
      .map(([code, body]) => Buffer.concat([Buffer.from(u32(code), "hex"), body]));
    fc.assert(
      fc.property(
        fc.array(request, { maxLength: 8 }),
        fc.constantFrom("command", "platform"),
        (requests, port) => {
          const connection = new SimulatorConnection(service, port as "command" | "platform");
          for (const bytes of requests) {
            if (connection.receive(bytes).over) return;
          }
        },
      ),
      { numRuns: 300 },
    );
    const whole = `0000000f00000001${send(raw.readClock)}00000019`;
    const replies = [1, 3, 1000].map((size) => {
      const connection = new SimulatorConnection(
        { host: new TpmHost({ store: new MemoryStore() }), stop() {} },
        "command",
      );
      const bytes = Buffer.from(whole, "hex");
      const parts: Uint8Array[] = [];
      for (let at = 0; at < bytes.length; at += size)
        parts.push(connection.receive(bytes.subarray(at, at + size)).replies);
      return Buffer.concat(parts).toString("hex");
    });
    const expected = `000000010000000d00000000${sent("80010000000a00000100")}000010000000100000000000`;
    expect(replies).toEqual([expected, expected, expected]);
  });
});
