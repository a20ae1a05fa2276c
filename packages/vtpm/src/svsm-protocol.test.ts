import { Tpm } from "@entresol/tpm";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MemoryStore } from "./state-store.ts";
import { SvsmResult, SvsmVtpm, svsmRequest, svsmVtpmQuery } from "./svsm-protocol.ts";
import { raw } from "./testing/loopback-client.ts";
import { TpmHost } from "./tpm-host.ts";

function vtpm(): SvsmVtpm {
  const host = new TpmHost({ store: new MemoryStore() });
  host.start();
  return new SvsmVtpm(host);
}
function page(request: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(4096);
  bytes.set(request);
  return bytes;
}
const bytes = (hex: string): Uint8Array => Buffer.from(hex, "hex");

describe("the SVSM vTPM protocol", () => {
  it("has TPM_SEND_COMMAND, and no features", () => {
    expect(svsmVtpmQuery).toEqual({ platformCommands: 0x100n, features: 0n });
  });

  it("puts the response in the place of the request, its size little-endian", () => {
    const one = page(svsmRequest(bytes(raw.startupClear)));
    expect(vtpm().command(one)).toBe(SvsmResult.SUCCESS);
    expect(Buffer.from(one.subarray(0, 14)).toString("hex")).toBe("0a00000080010000000a00000000");
  });

  it.each([
    ["another platform command", "01000000000a000000"],
    ["the simulator's byte order", "0000000800000000000a"],
    ["a locality above 0", "08000000010c000000"],
    ["a command that does not fit the page", "0800000000f80f0000"],
    ["a size of 2^32 - 1", "0800000000ffffffff"],
  ])("refuses %s and leaves the page alone", (_, request) => {
    const one = page(bytes(request));
    const before = one.slice();
    expect(vtpm().command(one)).toBe(SvsmResult.INVALID_PARAMETER);
    expect(one).toEqual(before);
  });

  it("takes a command of the most bytes that fit", () => {
    const one = page(bytes("0800000000f70f0000"));
    expect(vtpm().command(one)).toBe(SvsmResult.SUCCESS);
    expect(one.subarray(4, 14)).toEqual(new Tpm().execute(new Uint8Array(4087)));
  });

  it("answers any page without an exception, and with a response that fits", () => {
    const tpm = vtpm();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (content, framed) => {
        const one = page(framed ? svsmRequest(content) : content);
        const result = tpm.command(one);
        if (framed) expect(result).toBe(SvsmResult.SUCCESS);
        if (result !== SvsmResult.SUCCESS) return;
        const size = new DataView(one.buffer).getUint32(0, true);
        expect(size).toBe(new DataView(one.buffer).getUint32(6));
      }),
    );
  });
});
