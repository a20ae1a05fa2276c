import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { QmpChannel } from "./qmp-channel.ts";
import { QtestError } from "./qtest-error.ts";

const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");

function opened(): { channel: QmpChannel; sent: string[] } {
  const sent: string[] = [];
  return { channel: new QmpChannel((text) => sent.push(text)), sent };
}

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "resolved",
    (error: unknown) => (error instanceof QtestError ? error.code : String(error)),
  );

describe("QMP", () => {
  it("answers in order, between greeting and events", async () => {
    const { channel, sent } = opened();
    const list = channel.execute("qom-list", { path: "/machine" });
    const quit = channel.execute("quit");
    expect(sent).toEqual([
      '{"execute":"qom-list","arguments":{"path":"/machine"}}\n',
      '{"execute":"quit","arguments":{}}\n',
    ]);
    channel.receive(bytes('{"QMP": {}}\r\n{"return": [1]}\r\n{"event": "SHUTDOWN"}\r\n{"return": {}}\r\n'));
    expect(await list).toEqual([1]);
    expect(await quit).toEqual({});
  });

  it("rejects an error with its text", async () => {
    const { channel } = opened();
    const wrong = channel.execute("nothing");
    channel.receive(bytes('{"error": {"class": "CommandNotFound", "desc": "no such command"}}\r\n'));
    await expect(wrong).rejects.toMatchObject({
      code: "refused",
      message: expect.stringContaining("no such command"),
    });
  });

  it("ends with what is no answer, and settles everything", async () => {
    const line = fc.oneof(
      fc.constantFrom('{"return":1}', '{"error":2}', "[]", "null", "{", '{"event":1}'),
      fc.string({ maxLength: 20 }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(line, { maxLength: 8 }), async (lines) => {
        const { channel } = opened();
        const waiting = [channel.execute("a"), channel.execute("b")].map(codeOf);
        channel.receive(bytes(lines.map((text) => `${text}\n`).join("")));
        channel.fail(new QtestError("closed", "end"));
        for (const code of await Promise.all(waiting))
          expect(["resolved", "refused", "protocol", "closed"]).toContain(code);
      }),
    );
  });
});
