import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type Register, registerLines } from "../register-table.ts";
import { DeviceStateError } from "../saved-state.ts";

/*
 * What every device of the chipset keeps to, as assertions for its tests (those of no test runner): it answers whatever a guest asks, its saved state is
 * the golden one and refuses what does not fit, and its spec holds the tables of the code.
 */

/** What of a device the contract is about. */
export interface Saving {
  save(): unknown;
  restore(state: unknown): void;
}

/** One thing that a hostile guest or host does. */
export interface AnyStep {
  readonly kind: string;
  /** Of a port access, in bytes. */
  readonly width?: number;
}

/** How a test acts on a machine around the device; gives what a read answered. */
export type Perform<Guest, Step> = (guest: Guest, step: Step) => number;

/** Does `steps`: reads give values of their width, and nothing throws. `check` looks at each step. */
export function answersInWidth<Guest, Step extends AnyStep>(
  guest: Guest,
  steps: readonly Step[],
  perform: Perform<Guest, Step>,
  check?: (step: Step, value: number) => void,
): void {
  for (const step of steps) {
    const value = perform(guest, step);
    if (step.kind === "read") strictEqual(value, value % 2 ** (8 * (step.width ?? 0)));
    check?.(step, value);
  }
}

/**
 * After `before`, a device that is restored from what another saved goes on through `after` as that one does: same answers, same
 * `seen` (lines, deadlines) at the start and behind every step, same saved state at the end.
 */
export function goesOnAfterRestore<Guest, Step>(
  before: readonly Step[],
  after: readonly Step[],
  {
    start,
    copyOf,
    device,
    seen,
    perform,
  }: {
    readonly start: () => Guest;
    /** A machine of the same time and inputs, with a new device. */
    readonly copyOf: (guest: Guest) => Guest;
    readonly device: (guest: Guest) => Saving;
    readonly seen: (guest: Guest) => unknown;
    readonly perform: Perform<Guest, Step>;
  },
): void {
  const guest = start();
  for (const step of before) perform(guest, step);
  const state = device(guest).save();
  const copy = copyOf(guest);
  device(copy).restore(structuredClone(state));
  deepStrictEqual(device(copy).save(), state);
  deepStrictEqual(seen(copy), seen(guest));
  for (const step of after) {
    strictEqual(perform(copy, step), perform(guest, step));
    deepStrictEqual(seen(copy), seen(guest));
  }
  deepStrictEqual(device(copy).save(), device(guest).save());
}

/** `value` with byte arrays as JSON has them. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value];
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, plain(field)]));
}

/** The content of golden/`name`.json, which `state` must be: later builds have to read it. */
export function expectGolden(name: string, state: unknown): unknown {
  const golden: unknown = JSON.parse(
    readFileSync(new URL(`../golden/${name}.json`, import.meta.url), "utf8"),
  );
  deepStrictEqual(plain(state), golden);
  return golden;
}

/** `restore` refuses each state with the code beside it and leaves the device as it was. */
export function refusesStates(start: () => Saving, bad: readonly (readonly [unknown, string])[]): void {
  for (const [state, code] of bad) {
    const device = start();
    const before = device.save();
    let thrown: unknown;
    try {
      device.restore(state);
    } catch (error) {
      thrown = error;
    }
    ok(thrown instanceof DeviceStateError, `${code} was to be refused, not answered by ${String(thrown)}`);
    strictEqual(thrown.code, code);
    deepStrictEqual(device.save(), before);
  }
}

/** specs/`name`.md has a row for every register; gives its text. */
export function expectRegistersInSpec(name: string, registers: Readonly<Record<string, Register>>): string {
  const text = readFileSync(new URL(`../../../../specs/${name}.md`, import.meta.url), "utf8");
  for (const row of registerLines(registers)) ok(text.includes(row), `specs/${name}.md lacks the row ${row}`);
  return text;
}
