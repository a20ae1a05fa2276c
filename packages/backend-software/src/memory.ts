import type { Processor } from "@entresol/cpu";
import { type Gpa, type GuestMemory, HypervisorError } from "@entresol/hypervisor";
import { hex } from "@entresol/wire";

/** Guest RAM of a software partition, as the world outside the processor sees it: copies in, copies out. */
export class SoftwareMemory implements GuestMemory {
  readonly size: number;
  readonly #processor: Processor;

  constructor(processor: Processor) {
    this.#processor = processor;
    this.size = processor.ram.length;
  }

  #check(at: number, length: number): void {
    if (!Number.isSafeInteger(at) || at < 0 || length > this.size - at) {
      throw new HypervisorError(
        "bad-address",
        `${length} bytes at ${hex(Math.trunc(at))} are not within the ${hex(this.size)} bytes of RAM`,
      );
    }
  }

  read(at: Gpa, target: Uint8Array): void {
    this.#check(at, target.length);
    target.set(this.#processor.ram.subarray(at, at + target.length));
  }

  write(at: Gpa, source: Uint8Array): void {
    this.#check(at, source.length);
    this.#processor.ram.set(source, at);
    this.#processor.codeWritten(at, source.length);
  }

  fill(at: Gpa, length: number, value: number): void {
    this.#check(at, length);
    this.#processor.ram.fill(value, at, at + length);
    this.#processor.codeWritten(at, length);
  }
}
