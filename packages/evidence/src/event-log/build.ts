import { Writer } from "@entresol/wire";
import {
  type LogAlgorithm,
  type MeasuredEvent,
  SPECIFICATION_SIGNATURE,
  type SpecificationId,
  STARTUP_LOCALITY_SIGNATURE,
} from "./event-log.ts";
import { EventType } from "./event-types.ts";

/** What a TCG_EfiSpecIdEvent of a log written here says besides its algorithms. */
const defaults: Omit<SpecificationId, "algorithms"> = {
  platformClass: 0,
  major: 2,
  minor: 0,
  errata: 106,
  uintnSize: 2,
  vendorInfo: new Uint8Array(0),
};

/** Writes a crypto-agile log (PFP 1.06, 10.2.2 and 10.4.5.1): the specification identifier first, then what is added. */
export class EventLogBuilder {
  readonly algorithms: readonly LogAlgorithm[];
  readonly #writer = new Writer(1024);

  constructor(
    algorithms: readonly LogAlgorithm[],
    specification: Partial<Omit<SpecificationId, "algorithms">> = {},
  ) {
    this.algorithms = algorithms;
    const { platformClass, major, minor, errata, uintnSize, vendorInfo } = { ...defaults, ...specification };
    const event = new Writer(64).ascii(SPECIFICATION_SIGNATURE);
    event.u32(platformClass).u8(minor).u8(major).u8(errata).u8(uintnSize).u32(algorithms.length);
    for (const { id, digestSize } of algorithms) event.u16(id).u16(digestSize);
    event.u8(vendorInfo.length).bytes(vendorInfo);
    const data = event.finish();
    this.#writer.u32(0).u32(EventType.EV_NO_ACTION).zeros(20).u32(data.length).bytes(data);
  }

  /** Bytes of the log so far. */
  get length(): number {
    return this.#writer.length;
  }

  /** Appends an event. Throws `RangeError` unless it has one digest of the right size for each algorithm of the log. */
  add({ index, type, digests, data }: MeasuredEvent): this {
    const ordered = this.algorithms.map(({ id, digestSize }) => {
      const found = digests.find(({ algorithm }) => algorithm === id);
      if (found?.digest.length !== digestSize)
        throw new RangeError(`no digest of ${digestSize} bytes by algorithm 0x${id.toString(16)}`);
      return found;
    });
    this.#writer.u32(index).u32(type).u32(ordered.length);
    for (const { algorithm, digest } of ordered) this.#writer.u16(algorithm).bytes(digest);
    this.#writer.u32(data.length).bytes(data);
    return this;
  }

  /** An event that says something and extends nothing: its digests are zeros. */
  note(index: number, data: Uint8Array): this {
    const digests = this.algorithms.map(({ id, digestSize }) => ({
      algorithm: id,
      digest: new Uint8Array(digestSize),
    }));
    return this.add({ index, type: EventType.EV_NO_ACTION, digests, data });
  }

  /** TPM2_Startup came from this locality: PCR 0 begins with it as its last byte (PFP 1.06, 10.4.5.3). */
  startupLocality(locality: 0 | 3 | 4): this {
    return this.note(0, new Writer(17).ascii(STARTUP_LOCALITY_SIGNATURE).u8(locality).finish());
  }

  finish(): Uint8Array {
    return this.#writer.finish();
  }
}
