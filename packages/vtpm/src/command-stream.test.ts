import { Rc } from "@entresol/tpm-types";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CommandStream, framedResponse } from "./command-stream.ts";

function command(body: Uint8Array, code = 0x17b): Uint8Array {
  const bytes = Buffer.alloc(10 + body.length);
  bytes.writeUInt16BE(0x8001, 0);
  bytes.writeUInt32BE(bytes.length, 2);
  bytes.writeUInt32BE(code, 6);
  bytes.set(body, 10);
  return bytes;
}

function prefixed(locality: number, bytes: Uint8Array): Uint8Array {
  const prefix = Buffer.alloc(9);
  prefix.writeUInt32BE(8, 0);
  prefix.writeUInt8(locality, 4);
  prefix.writeUInt32BE(bytes.length, 5);
  return Buffer.concat([prefix, bytes]);
}

describe("CommandStream", () => {
  it("gives the commands that were sent, however their bytes are cut", () => {
    const sent = fc.array(
      fc.record({
        body: fc.uint8Array({ maxLength: 80 }),
        locality: fc.option(fc.integer({ min: 0, max: 255 }), { nil: undefined }),
      }),
      { maxLength: 6 },
    );
    fc.assert(
      fc.property(sent, fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }), (commands, cuts) => {
        const bytes = Buffer.concat(
          commands.map(({ body, locality }) =>
            locality === undefined ? command(body) : prefixed(locality, command(body)),
          ),
        );
        const stream = new CommandStream(4096);
        const got: unknown[] = [];
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const end = at + cuts[i % cuts.length]!;
          stream.push(bytes.subarray(at, end));
          at = end;
          for (let next = stream.next(); next !== undefined; next = stream.next())
            got.push(typeof next === "number" ? next : [[...next.bytes], next.locality]);
        }
        expect(got).toEqual(commands.map(({ body, locality }) => [[...command(body)], locality]));
      }),
    );
  });

  it.each([
    ["shorter than its header", "800100000009", Rc.COMMAND_SIZE],
    ["longer than the buffer", "800100001001", Rc.COMMAND_SIZE],
    ["longer than the buffer, prefixed", "000000080000001001", Rc.COMMAND_SIZE],
  ])("refuses a length that is %s at once", (_, bytes, rc) => {
    const stream = new CommandStream(4096);
    stream.push(Buffer.from(bytes, "hex"));
    expect(stream.next()).toBe(rc);
  });

  it("frames the response of a prefixed command with its length and an acknowledgement", () => {
    expect(Buffer.from(framedResponse(Uint8Array.of(0xaa, 0xbb))).toString("hex")).toBe(
      "00000002aabb00000000",
    );
  });
});
