import { toHex } from "@entresol/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { softwareHash } from "./sha2.ts";
import { measureTdLaunch } from "./tdx/firmware-launch.ts";
import { firmwareImage } from "./testing/firmware-image.ts";
import { nodeHash } from "./testing/node-hash.ts";

describe.each(["sha256", "sha384"] as const)("%s in software", (name) => {
  it("is that of Node, whatever the bytes and their parts", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 3 }), (parts) => {
        expect(toHex(softwareHash(name, ...parts))).toBe(toHex(nodeHash(name, ...parts)));
      }),
    );
  });

  it("is that of Node at every length around its blocks", () => {
    for (let length = 0; length < 270; length++) {
      const bytes = new Uint8Array(length).fill(0xff);
      expect(toHex(softwareHash(name, bytes))).toBe(toHex(nodeHash(name, bytes)));
    }
  });
});

it("measures an image as Node's hash does", () => {
  const image = firmwareImage({
    tdx: [{ gpa: 0xffff_f000, size: 0x1000, type: 0, offset: 0, rawSize: 0x1000, attributes: 1 }],
  });
  expect(measureTdLaunch(softwareHash, image)).toEqual(measureTdLaunch(nodeHash, image));
});
