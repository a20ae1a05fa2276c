import { layout, type Processor } from "@entresol/cpu";
import {
  type ControlRegister,
  type DescriptorTable,
  type GeneralRegister,
  generalRegisters,
  type Registers,
  type Segment,
  type SegmentName,
} from "@entresol/hypervisor";

const general = new Map<string, number>(
  generalRegisters.slice(0, 16).map((name, i) => [name, layout.GPR + 8 * i]),
);
const control: Record<ControlRegister, number> = {
  cr0: layout.CR0,
  cr2: layout.CR2,
  cr3: layout.CR3,
  cr4: layout.CR4,
  efer: layout.EFER,
};
/** Index into the processor's segment tables. */
const segmentIndex: Record<Exclude<SegmentName, "ldtr" | "tr">, number> = {
  es: 1,
  cs: 2,
  ss: 3,
  ds: 4,
  fs: 5,
  gs: 6,
};

/** Where one segment register's parts stand in a context page. */
interface SegmentPlace {
  readonly base: number;
  readonly limit: number;
  readonly selector: number;
  readonly attributes: number;
}

function segmentPlace(name: SegmentName): SegmentPlace {
  if (name === "ldtr") {
    return {
      base: layout.LDTR_BASE,
      limit: layout.LDTR_LIMIT,
      selector: layout.LDTR_SELECTOR,
      attributes: layout.LDTR_ATTRIBUTES,
    };
  }
  if (name === "tr") {
    return {
      base: layout.TR_BASE,
      limit: layout.TR_LIMIT,
      selector: layout.TR_SELECTOR,
      attributes: layout.TR_ATTRIBUTES,
    };
  }
  const i = segmentIndex[name];
  return {
    base: layout.SEGMENT_BASE + 8 * i,
    limit: layout.SEGMENT_LIMIT + 4 * i,
    selector: layout.SEGMENT_SELECTOR + 2 * i,
    attributes: layout.SEGMENT_ATTRIBUTES + 2 * i,
  };
}

/**
 * A vCPU's registers in the processor's memory. RIP is the offset in the code segment, as an x86 programmer means it; the
 * processor itself keeps the linear address.
 */
export class SoftwareRegisters implements Registers {
  readonly #processor: Processor;
  readonly #index: number;

  constructor(processor: Processor, index: number) {
    this.#processor = processor;
    this.#index = index;
  }

  /** Selects this vCPU, so that its context is the live one, and gives the view. */
  #live(): DataView {
    this.#processor.select(this.#index);
    return this.#processor.view;
  }

  /** As `#live`, but also inside one of the vCPU's own exits, where its context is the live one already. */
  #atHand(): DataView {
    return this.#processor.isRunning(this.#index) ? this.#processor.view : this.#live();
  }

  get(name: GeneralRegister | ControlRegister): bigint {
    const view = this.#atHand();
    if (name === "rip") return BigInt.asUintN(64, view.getBigUint64(layout.RIP, true) - this.#codeBase(view));
    if (name === "rflags") return this.#processor.flags;
    return view.getBigUint64(general.get(name) ?? control[name as ControlRegister], true);
  }

  set(name: GeneralRegister | ControlRegister, value: bigint): void {
    const place = general.get(name);
    if (place !== undefined) {
      // Nothing is derived from these, so that an exit may change them.
      this.#atHand().setBigUint64(place, value, true);
      return;
    }
    const view = this.#live();
    if (name === "rip") view.setBigUint64(layout.RIP, BigInt.asUintN(64, value + this.#codeBase(view)), true);
    else if (name === "rflags") this.#processor.flags = value;
    else view.setBigUint64(control[name as ControlRegister], value, true);
    this.#processor.applyRegisters();
  }

  segment(name: SegmentName): Segment {
    const view = this.#atHand();
    const place = segmentPlace(name);
    return {
      selector: view.getUint16(place.selector, true),
      base: view.getBigUint64(place.base, true),
      limit: view.getUint32(place.limit, true),
      attributes: view.getUint16(place.attributes, true),
    };
  }

  setSegment(name: SegmentName, value: Segment): void {
    const view = this.#live();
    const place = segmentPlace(name);
    const offset = name === "cs" ? view.getBigUint64(layout.RIP, true) - this.#codeBase(view) : 0n;
    view.setUint16(place.selector, value.selector, true);
    view.setBigUint64(place.base, value.base, true);
    view.setUint32(place.limit, value.limit, true);
    view.setUint16(place.attributes, value.attributes, true);
    if (name === "cs") view.setBigUint64(layout.RIP, BigInt.asUintN(64, offset + value.base), true);
    this.#processor.applyRegisters();
  }

  table(name: "gdtr" | "idtr"): DescriptorTable {
    const view = this.#live();
    return name === "gdtr"
      ? { base: view.getBigUint64(layout.GDTR_BASE, true), limit: view.getUint32(layout.GDTR_LIMIT, true) }
      : { base: view.getBigUint64(layout.IDTR_BASE, true), limit: view.getUint32(layout.IDTR_LIMIT, true) };
  }

  setTable(name: "gdtr" | "idtr", value: DescriptorTable): void {
    const view = this.#live();
    view.setBigUint64(name === "gdtr" ? layout.GDTR_BASE : layout.IDTR_BASE, value.base, true);
    view.setUint32(name === "gdtr" ? layout.GDTR_LIMIT : layout.IDTR_LIMIT, value.limit, true);
    this.#processor.applyRegisters();
  }

  #codeBase(view: DataView): bigint {
    return view.getBigUint64(layout.SEGMENT_BASE + 8 * segmentIndex.cs, true);
  }
}
