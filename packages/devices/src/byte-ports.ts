import type { PortDevice } from "./device.ts";

/**
 * A device whose registers are single bytes. A wider access is the bytes at consecutive ports, lowest first, as the bridge to
 * an 8-bit bus splits it; every byte has its side effects.
 */
export abstract class BytePorts implements PortDevice {
  /** One byte from an absolute port, 0 to 255. Ports that the device does not have answer 0xFF. */
  protected abstract readByte(port: number): number;
  /** One byte, 0 to 255, to an absolute port. */
  protected abstract writeByte(port: number, value: number): void;

  portRead(port: number, width: 1 | 2 | 4): number {
    if (width === 1) return this.readByte(port);
    let value = 0;
    for (let index = 0; index < width; index++) value |= this.readByte(port + index) << (8 * index);
    return value >>> 0;
  }

  portWrite(port: number, width: 1 | 2 | 4, value: number): void {
    if (width === 1) {
      this.writeByte(port, value & 0xff);
      return;
    }
    for (let index = 0; index < width; index++) this.writeByte(port + index, (value >>> (8 * index)) & 0xff);
  }
}
