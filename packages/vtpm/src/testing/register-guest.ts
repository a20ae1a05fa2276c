import { type ClockWheel, ManualTime, type MmioDevice, RecordingLine } from "@entresol/devices";
import type { InterfaceOptions } from "../interface-core.ts";
import { SlowExecutor } from "./slow-executor.ts";

/** A guest in front of a TPM's registers, with a TPM behind that is as slow as the test wants. */
export class RegisterGuest<Interface extends MmioDevice & { reset(): void }> {
  readonly executor = new SlowExecutor();
  readonly line = new RecordingLine();
  readonly time: ManualTime = new ManualTime();
  readonly device: Interface;

  constructor(
    make: (options: InterfaceOptions) => Interface,
    options: Partial<InterfaceOptions> = {},
    timebase?: ClockWheel,
  ) {
    const { executor, line } = this;
    this.device = make({ name: "tpm", executor, timebase: timebase ?? this.time, line, ...options });
    this.device.reset();
    executor.log.length = 0;
  }

  read(locality: number, at: number, width: 1 | 2 | 4 = 4): number {
    return this.device.mmioRead((locality << 12) + at, width);
  }
  write(locality: number, at: number, value: number, width: 1 | 2 | 4 = 4): void {
    this.device.mmioWrite((locality << 12) + at, width, value);
  }
  /** Writes bytes one after another from `at`, or all to `at` itself. */
  writeBytes(locality: number, at: number, hex: string, step: 0 | 1 = 1): void {
    Buffer.from(hex, "hex").forEach((byte, i) => {
      this.write(locality, at + step * i, byte, 1);
    });
  }
  readBytes(locality: number, at: number, count: number, step: 0 | 1 = 1): string {
    return Buffer.from(
      Array.from({ length: count }, (_, i) => this.read(locality, at + step * i, 1)),
    ).toString("hex");
  }
}

/** A command and a response that are whole. */
export const getRandom = "80010000000c0000017b0008";
export const success = "80010000000a00000000";
export const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, "hex"));
