import type { ApicBase } from "./apic-base.ts";
import { apicAccess, apicLvtEntries, apicRegisters } from "./apic-registers.ts";
import type { ApicTimerState } from "./apic-timer.ts";
import { SavedFields } from "./saved-state.ts";

/** A local APIC at rest. The timer's mode is in the LVT; counters are not state. */
export interface LocalApicState {
  readonly version: 2;
  readonly index: number;
  /** The physical id of xAPIC mode, 8 bits. Version 1 had none: it was the index's low byte. */
  readonly id: number;
  /** IA32_APIC_BASE, bits 31:0 and 63:32. */
  readonly baseLow: number;
  readonly baseHigh: number;
  readonly taskPriority: number;
  /** Of xAPIC mode; in x2APIC mode it follows from the id. */
  readonly logicalDestination: number;
  readonly destinationFormat: number;
  readonly spuriousVector: number;
  readonly errorStatus: number;
  /** Errors since ESR was last written. */
  readonly pendingErrors: number;
  readonly commandLow: number;
  readonly commandHigh: number;
  /** LVT timer, thermal, performance, LINT0, LINT1, error. */
  readonly lvt: readonly number[];
  readonly inService: readonly number[];
  readonly triggerMode: readonly number[];
  readonly interruptRequest: readonly number[];
  readonly lint0: boolean;
  readonly lint1: boolean;
  /** An ExtINT message has come and not been answered. */
  readonly externalPending: boolean;
  /** Vectors that need no EOI. None in version 1. */
  readonly autoEoi: readonly number[];
  /** The guest has been told that it may leave out the EOI of what is in service. Never in version 1. */
  readonly eoiOffered: boolean;
  readonly timer: ApicTimerState;
}

const baseEnable = 1 << 11;
const softwareEnable = 1 << 8;

/** The bits of ESR that this APIC can set. */
const errorBits = 0xe0;

/** A saved state that was checked, all but its timer, whose fields are left for the timer to check. */
export interface CheckedLocalApicState extends Omit<LocalApicState, "version" | "index" | "timer"> {
  readonly timerFields: SavedFields;
}

/** Throws `DeviceStateError` for what no local APIC `index` can have saved. */
export function checkLocalApicState(
  name: string,
  index: number,
  base: ApicBase,
  state: unknown,
): CheckedLocalApicState {
  const fields = SavedFields.open(name, state, 1, 2);
  const since2 = fields.integer("version", 1, 2) === 2;
  fields.integer("index", index, index);
  const baseLow = fields.dword("baseLow");
  const baseHigh = fields.dword("baseHigh");
  fields.require(base.holds(baseLow, baseHigh), "an IA32_APIC_BASE that no guest can write");
  const register = (field: "logicalDestination" | "destinationFormat" | "spuriousVector" | "commandLow") => {
    const value = fields.dword(field);
    const { index: number, reset } = apicRegisters[field];
    // Bits that always read as after reset (DFR's low ones) may be set as well.
    const possible = apicAccess.legal[number]! | (field === "destinationFormat" ? reset : 0);
    fields.require((value & ~possible) === 0, `${field} has reserved bits set`);
    return value;
  };
  const errors = (field: "errorStatus" | "pendingErrors") => {
    const value = fields.byte(field);
    fields.require((value & ~errorBits) === 0, `${field} has errors that this APIC does not know`);
    return value;
  };
  const bank = (field: "inService" | "triggerMode" | "interruptRequest" | "autoEoi") => {
    const words = fields.integers(field, 8, 0xffff_ffff);
    fields.require((words[0]! & 0xffff) === 0, `${field} holds a vector below 16`);
    return words;
  };
  const lvt = fields.integers("lvt", apicLvtEntries.length, 0xffff_ffff);
  apicLvtEntries.forEach((entry, i) => {
    const legal = apicAccess.legal[apicRegisters[entry].index]!;
    fields.require((lvt[i]! & ~legal) === 0, `the LVT entry ${entry} has reserved bits set`);
  });
  const checked: CheckedLocalApicState = {
    id: since2 ? fields.byte("id") : index & 0xff,
    baseLow,
    baseHigh,
    taskPriority: fields.byte("taskPriority"),
    logicalDestination: register("logicalDestination"),
    destinationFormat: register("destinationFormat"),
    spuriousVector: register("spuriousVector"),
    errorStatus: errors("errorStatus"),
    pendingErrors: errors("pendingErrors"),
    commandLow: register("commandLow"),
    commandHigh: fields.dword("commandHigh"),
    lvt,
    inService: bank("inService"),
    triggerMode: bank("triggerMode"),
    interruptRequest: bank("interruptRequest"),
    lint0: fields.boolean("lint0"),
    lint1: fields.boolean("lint1"),
    externalPending: fields.boolean("externalPending"),
    autoEoi: since2 ? bank("autoEoi") : [],
    eoiOffered: since2 ? fields.boolean("eoiOffered") : false,
    timerFields: fields.nested("timer"),
  };
  fields.end();
  const inServiceBits = checked.inService.reduce((count, word) => count + bitCount(word), 0);
  fields.require(
    !checked.eoiOffered || (inServiceBits === 1 && checked.interruptRequest.every((word) => word === 0)),
    "an EOI offered for what is not alone in service",
  );
  // The APIC's own rule: disabling resets SVR, and a disabled one cannot be written.
  const enabled = (baseLow & baseEnable) !== 0;
  fields.require(
    enabled || (checked.spuriousVector & softwareEnable) === 0,
    "software enabled while disabled",
  );
  return checked;
}

function bitCount(word: number): number {
  let count = 0;
  for (let left = word; left !== 0; left &= left - 1) count++;
  return count;
}
