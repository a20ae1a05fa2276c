import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { GuestAgent } from "./agent.ts";

/** An agent whose guest records what it is sent. */
function pair() {
  const sent: string[] = [];
  const agent = new GuestAgent((bytes) => sent.push(Buffer.from(bytes).toString("latin1")));
  const say = (text: string | Uint8Array) =>
    agent.receive(typeof text === "string" ? Buffer.from(text, "latin1") : text);
  return { agent, sent, say };
}
const nonceOf = (line: string) => line.split(" ")[1]!;

describe("guest agent", () => {
  it("is ready when the guest says so, and not before", async () => {
    const { agent, say } = pair();
    say("boot noise\nENTRESOL READ");
    expect(agent.ready).toBe(false);
    say("Y 1\n");
    expect(agent.ready).toBe(true);
    await agent.whenReady();
  });

  it("sends a command as one line of base64 and ends with its status", async () => {
    const { agent, sent, say } = pair();
    const output: string[] = [];
    const done = agent.exec("echo 'ä\n'", (bytes) => output.push(Buffer.from(bytes).toString("latin1")));
    expect(agent.busy).toBe(true);
    const [, nonce, encoded] = sent[0]!.trim().split(" ");
    expect(Buffer.from(encoded!, "base64").toString("utf8")).toBe("echo 'ä\n'");
    say(`some\nout\n\nENTRESOL EXIT ${nonce} 3\n`);
    expect(await done).toEqual({ status: 3 });
    expect(output.join("")).toBe("some\nout\n");
    expect(agent.busy).toBe(false);
  });

  it("does not take a mark with another nonce for the end", async () => {
    const { agent, sent, say } = pair();
    let output = "";
    const done = agent.exec("x", (bytes) => {
      output += Buffer.from(bytes).toString("latin1");
    });
    say("\nENTRESOL EXIT 00000000000000000000000000000000 0\n");
    say(`\nENTRESOL EXIT ${nonceOf(sent[0]!)} 0\n`);
    expect(await done).toEqual({ status: 0 });
    expect(output).toBe("\nENTRESOL EXIT 00000000000000000000000000000000 0\n");
  });

  it("tells the end at once, and its promise a little later", async () => {
    const { agent, sent, say } = pair();
    const seen: string[] = [];
    const done = agent.exec(
      "x",
      () => {},
      ({ status }) => seen.push(`ended ${status}`),
    );
    say(`\nENTRESOL EXIT ${nonceOf(sent[0]!)} 7\n`);
    expect(seen).toEqual(["ended 7"]);
    expect(await done).toEqual({ status: 7 });
  });

  it("sends the same bytes for the same commands", () => {
    const first = pair();
    const second = pair();
    for (const { agent, sent, say } of [first, second]) {
      for (let i = 0; i < 3; i++) {
        void agent.exec("date", () => {});
        say(`\nENTRESOL EXIT ${nonceOf(sent[i]!)} 0\n`);
      }
    }
    expect(first.sent).toEqual(second.sent);
    expect(new Set(first.sent).size).toBe(3);
  });

  it("gives a command up when the agent was started again behind its back", async () => {
    const { agent, sent, say } = pair();
    const output: string[] = [];
    const done = agent.exec("kill -9 -1", (bytes) => output.push(Buffer.from(bytes).toString("latin1")));
    say("some outpENTR");
    say("ENTRESOL READY 1\n");
    expect(sent.length).toBe(2);
    say(`\nENTRESOL EXIT ${nonceOf(sent[1]!)} 0\n`);
    expect(await done).toEqual({ status: 255, lost: true });
    expect(output.join("")).toBe("some outpENTRENTRESOL READY 1\n");
    const next = agent.exec("true", () => {});
    say(`\nENTRESOL EXIT ${nonceOf(sent[2]!)} 0\n`);
    expect(await next).toEqual({ status: 0 });
  });

  it("does not give up a command that only writes what a starting agent would", async () => {
    const { agent, sent, say } = pair();
    let output = "";
    const collect = (bytes: Uint8Array) => {
      output += Buffer.from(bytes).toString("latin1");
    };
    const done = agent.exec("fake", collect);
    for (let i = 0; i < 5; i++) say("ENTRESOL READY 1\n");
    expect(sent.length).toBe(2);
    say(`and on\n\nENTRESOL EXIT ${nonceOf(sent[0]!)} 4\n`);
    expect(await done).toEqual({ status: 4 });
    // The answer to the question comes when the next command is already under way, and is none of its output.
    const next = agent.exec("next", collect);
    say(`\nENTRESOL EXIT ${nonceOf(sent[1]!)} 0\nfine\n\nENTRESOL EXIT ${nonceOf(sent[2]!)} 0\n`);
    expect(await next).toEqual({ status: 0 });
    expect(output).toBe(`${"ENTRESOL READY 1\n".repeat(5)}and on\nfine\n`);
  });

  it("refuses a second command while one runs", () => {
    const { agent } = pair();
    void agent.exec("x", () => {});
    expect(() => agent.exec("y", () => {})).toThrow("already running");
  });

  it("passes any output on unchanged, however it is cut", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 300 }),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
        fc.integer({ min: 0, max: 255 }),
        async (bytes, cuts, status) => {
          const { agent, sent, say } = pair();
          const output: number[] = [];
          const done = agent.exec("x", (part) => output.push(...part));
          const stream = Buffer.concat([
            bytes,
            Buffer.from(`\nENTRESOL EXIT ${nonceOf(sent[0]!)} ${status}\n`),
          ]);
          for (let at = 0, i = 0; at < stream.length; i++) {
            const step = cuts[i % cuts.length]!;
            say(stream.subarray(at, at + step));
            at += step;
          }
          expect(await done).toEqual({ status });
          expect(output).toEqual([...bytes]);
        },
      ),
    );
  });

  it("forgets lines that are longer than any of the protocol", () => {
    const { agent, say } = pair();
    for (let i = 0; i < 100; i++) say(new Uint8Array(1000).fill(0x41));
    say("\nENTRESOL READY 1\n");
    expect(agent.ready).toBe(true);
  });
});
