import { expect, it } from "vitest";
import { BytePorts } from "./byte-ports.ts";

class Recorder extends BytePorts {
  readonly seen: string[] = [];

  protected override readByte(port: number): number {
    this.seen.push(`read ${port}`);
    return 0xf0 | (port & 0x0f);
  }

  protected override writeByte(port: number, value: number): void {
    this.seen.push(`write ${port} ${value}`);
  }
}

it("a wide access is the bytes at consecutive ports, lowest first, and unsigned", () => {
  const device = new Recorder();
  expect(device.portRead(1, 1)).toBe(0xf1);
  expect(device.portRead(1, 2)).toBe(0xf2f1);
  expect(device.portRead(1, 4)).toBe(0xf4f3_f2f1);
  device.portWrite(1, 4, 0x8899_aabb);
  device.portWrite(1, 2, 0xffff_0102);
  device.portWrite(1, 1, 0xffff_ff03);
  expect(device.seen).toEqual([
    ...["read 1", "read 1", "read 2", "read 1", "read 2", "read 3", "read 4"],
    ...["write 1 187", "write 2 170", "write 3 153", "write 4 136"],
    ...["write 1 2", "write 2 1", "write 1 3"],
  ]);
});
