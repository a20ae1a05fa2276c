import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { QtestChannel } from "./qtest-channel.ts";
import { QtestError } from "./qtest-error.ts";
import type { QtestOperation } from "./qtest-operation.ts";

const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");

/** A channel whose other end is the test. */
function opened(): { channel: QtestChannel; sent: string[] } {
  const sent: string[] = [];
  return { channel: new QtestChannel((text) => sent.push(text)), sent };
}

const readPort: QtestOperation = { kind: "port read", port: 0x3fd, width: 1 };

/** The code that `promise` is rejected with. */
const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "resolved",
    (error: unknown) => (error instanceof QtestError ? error.code : String(error)),
  );

describe("the qtest protocol", () => {
  it("writes an operation as the command that QEMU reads", async () => {
    const { channel, sent } = opened();
    const done = channel.perform([
      { kind: "port write", port: 0x70, width: 1, value: 0x8f },
      { kind: "port read", port: 0xcfc, width: 4 },
      { kind: "memory write", at: 0xfec0_0010, width: 4, value: 0xffff_ffff },
      { kind: "memory read", at: 2 ** 40, width: 2 },
      { kind: "input", path: "/machine/unattached/device[5]", line: 3, level: true },
    ]);
    expect(sent.join("").split("\n")).toEqual([
      "outb 0x70 0x8f",
      "inl 0xcfc",
      "writel 0xfec00010 0xffffffff",
      "readw 0x10000000000",
      "set_irq_in /machine/unattached/device[5] unnamed-gpio-in 3 1",
      "",
    ]);
    channel.receive(bytes("OK\nOK 0x8086\nOK\nOK 0x0000\nOK\n"));
    expect([...(await done).values]).toEqual([0, 0x8086, 0, 0, 0]);
  });

  it("gives each operation of a batch the levels that were heard before its answer", async () => {
    const { channel } = opened();
    const done = channel.perform([readPort, readPort, readPort]);
    channel.receive(bytes("IRQ raise 4\nOK 0x1\nIRQ rai"));
    channel.receive(bytes("se 0\nIRQ lower 4\nOK 0x2\nOK 0x3\nIRQ raise 31\n"));
    const { values, levels } = await done;
    expect([...values]).toEqual([1, 2, 3]);
    expect([...levels]).toEqual([0x10, 0x01, 0x01]);
    expect(channel.levels >>> 0).toBe(0x8000_0001);
  });

  it("sends a long batch in parts, each after the answers to the one before", async () => {
    const { channel, sent } = opened();
    const done = channel.perform(Array.from({ length: 5000 }, () => readPort));
    expect(sent.join("").match(/\n/g)).toHaveLength(4096);
    channel.receive(bytes("OK 0x0\n".repeat(4096)));
    await Promise.resolve();
    expect(sent.join("").match(/\n/g)).toHaveLength(5000);
    channel.receive(bytes("OK 0x1\n".repeat(904)));
    expect((await done).values.reduce((sum, value) => sum + value, 0)).toBe(904);
  });

  it("rejects what QEMU refuses with its words, and goes on", async () => {
    const { channel } = opened();
    const first = channel.command("clock_step 1");
    const second = channel.perform([readPort, readPort]);
    const third = channel.command("endianness");
    channel.receive(bytes("FAIL Unknown command 'clock_step'\nERR no\nOK 0x1\nOK little\n"));
    await expect(first).rejects.toMatchObject({
      code: "refused",
      message: expect.stringContaining("Unknown command"),
    });
    expect(await codeOf(second)).toBe("refused");
    expect(await third).toBe("little");
  });

  it.each([
    ["an answer that nobody asked for", "OK\nOK\n"],
    ["a line that is no answer", "HELLO\n"],
    ["an event that is none", "IRQ jump 4\n"],
    ["a read without a number", "OK maybe\n"],
  ])("ends with %s", async (_, answer) => {
    const { channel, sent } = opened();
    const waiting = channel.perform([readPort]);
    channel.receive(bytes(answer));
    await codeOf(waiting);
    expect(await codeOf(channel.command("inb 0x0"))).toBe("protocol");
    // It stays ended, and sends nothing any more.
    channel.receive(bytes("OK 0x1\n"));
    expect(sent).toHaveLength(1);
  });

  it("keeps no more than a line's worth of a peer that ends none", async () => {
    const { channel } = opened();
    const waiting = channel.command("read 0x0 0x1");
    const flood = new Uint8Array(1 << 16).fill(0x41);
    for (let sent = 0; sent <= 1 << 20; sent += flood.length) channel.receive(flood);
    expect(await codeOf(waiting)).toBe("protocol");
  });

  it("sends nothing that QEMU would abort on or take for another command", async () => {
    const wrong: readonly unknown[] = [
      { kind: "port read", port: 0x1_0000, width: 1 },
      { kind: "port read", port: -1, width: 1 },
      { kind: "port read", port: 1.5, width: 1 },
      { kind: "port read", port: 0, width: 3 },
      { kind: "port write", port: 0, width: 1, value: 0x100 },
      { kind: "port write", port: 0, width: 1, value: Number.NaN },
      { kind: "memory read", at: 2 ** 53, width: 4 },
      { kind: "input", path: "ioapic x 1 1\nquit", line: 0, level: true },
      { kind: "input", path: "ioapic", line: 256, level: true },
    ];
    for (const operation of wrong) {
      const { channel, sent } = opened();
      expect(await codeOf(channel.perform([readPort, operation as QtestOperation]))).toBe("bad-argument");
      expect(sent).toEqual([]);
    }
  });

  it("fails everything that waits when it is ended", async () => {
    const { channel } = opened();
    const waiting = [channel.command("a"), channel.perform([readPort]), channel.command("b")].map(codeOf);
    channel.fail(new QtestError("exited", "gone"));
    expect(await Promise.all(waiting)).toEqual(["exited", "exited", "exited"]);
    expect(await codeOf(channel.command("c"))).toBe("exited");
  });

  it("settles whatever it is answered, in whatever pieces", async () => {
    const line = fc.oneof(
      fc.constantFrom("OK", "OK 0x12", "FAIL no", "ERR", "IRQ raise 3", "IRQ lower 99999", "OK 0xzz", ""),
      fc.string({ maxLength: 30 }),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(line, { maxLength: 20 }),
        fc.integer({ min: 1, max: 40 }),
        async (lines, cut) => {
          const { channel } = opened();
          const waiting = [channel.command("x"), channel.perform([readPort, readPort])].map(codeOf);
          const all = bytes(lines.map((text) => `${text}\n`).join(""));
          for (let at = 0; at < all.length; at += cut) channel.receive(all.subarray(at, at + cut));
          channel.fail(new QtestError("closed", "end"));
          for (const code of await Promise.all(waiting))
            expect(["resolved", "refused", "protocol", "closed"]).toContain(code);
        },
      ),
    );
  });
});
