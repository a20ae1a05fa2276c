import type { MmioDevice } from "../device.ts";

/** Memory behind a BAR, little-endian, any alignment; beyond its end it reads 0. */
export class MemoryRegion implements MmioDevice {
  readonly bytes: Uint8Array;

  constructor(length: number) {
    this.bytes = new Uint8Array(length);
  }

  mmioRead(offset: number, width: 1 | 2 | 4): number {
    let value = 0;
    for (let i = 0; i < width; i++) value |= (this.bytes[offset + i] ?? 0) << (8 * i);
    return value >>> 0;
  }

  mmioWrite(offset: number, width: 1 | 2 | 4, value: number): void {
    for (let i = 0; i < width; i++) this.bytes[offset + i] = value >>> (8 * i);
  }
}
