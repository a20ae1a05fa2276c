import { EntresolError } from "@entresol/wire";

/** What can be wrong with a saved state: another version, a missing or mistyped field, a value no save could have written. */
export type DeviceStateCode = "bad-version" | "bad-shape" | "out-of-range";

/** Thrown by `Device.restore`; the device is as it was before the call. The message names the device and the field. */
export class DeviceStateError extends EntresolError<DeviceStateCode> {
  override readonly name = "DeviceStateError";
}

/** Saved form of a `Timer.deadline`: null is disarmed, since Infinity does not survive JSON. */
export type SavedDeadline = number | null;

export function saveDeadline(deadline: number): SavedDeadline {
  return deadline === Number.POSITIVE_INFINITY ? null : deadline;
}

/**
 * Reads a saved state field by field. Every method throws `DeviceStateError` for what `save` cannot have written, so a device
 * that first reads everything into locals, calls `end`, and only then assigns, changes nothing when the state does not fit.
 */
export class SavedFields {
  readonly #where: string;
  readonly #fields: Readonly<Record<string, unknown>>;
  readonly #read = new Set<string>();

  private constructor(where: string, fields: Readonly<Record<string, unknown>>) {
    this.#where = where;
    this.#fields = fields;
  }

  /** Opens `state`, whose `version` must be one of `versions`. */
  static open(device: string, state: unknown, ...versions: readonly number[]): SavedFields {
    const fields = new SavedFields(device, asRecord(device, state));
    const version = fields.#take("version");
    if (typeof version !== "number" || !versions.includes(version)) {
      throw new DeviceStateError(
        "bad-version",
        `${device}: saved state has version ${typeof version === "number" ? version : typeof version}, this build reads ${versions.join(", ")}`,
      );
    }
    return fields;
  }

  /** Was the field written at all? For fields that later versions added. */
  has(field: string): boolean {
    return Object.hasOwn(this.#fields, field);
  }

  /** A whole number from `minimum` to `maximum`. */
  integer(field: string, minimum: number, maximum: number): number {
    const value = this.#take(field);
    if (typeof value !== "number" || !Number.isSafeInteger(value)) this.#shape(field, "a whole number");
    if (value < minimum || value > maximum) this.#range(field, value, minimum, maximum);
    // -0 compares equal to 0 but would make a later save differ.
    return value + 0;
  }

  byte(field: string): number {
    return this.integer(field, 0, 0xff);
  }

  word(field: string): number {
    return this.integer(field, 0, 0xffff);
  }

  dword(field: string): number {
    return this.integer(field, 0, 0xffff_ffff);
  }

  boolean(field: string): boolean {
    const value = this.#take(field);
    if (typeof value !== "boolean") this.#shape(field, "true or false");
    return value;
  }

  /** One of `choices`. */
  choice<const Choice extends string>(field: string, choices: readonly Choice[]): Choice {
    const value = this.#take(field);
    const found = choices.find((choice) => choice === value);
    if (found === undefined) {
      throw new DeviceStateError(
        typeof value === "string" ? "out-of-range" : "bad-shape",
        `${this.#where}.${field} must be one of ${choices.join(", ")}`,
      );
    }
    return found;
  }

  /** A timer's deadline in ns of guest time, Infinity when it was disarmed. */
  deadline(field: string): number {
    if (this.has(field) && this.#fields[field] === null) {
      this.#read.add(field);
      return Number.POSITIVE_INFINITY;
    }
    return this.integer(field, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
  }

  /** Exactly `count` whole numbers, or at most `count` when `atLeast` is given, each from 0 to `maximum`. */
  integers(field: string, count: number, maximum: number, atLeast = count): number[] {
    const value = this.#take(field);
    if (!Array.isArray(value)) this.#shape(field, "an array");
    if (value.length > count || value.length < atLeast) this.#shape(field, `an array of ${count} numbers`);
    return value.map((item: unknown) => {
      if (typeof item !== "number" || !Number.isSafeInteger(item)) this.#shape(field, "whole numbers");
      if (item < 0 || item > maximum) this.#range(field, item, 0, maximum);
      return item + 0;
    });
  }

  /** A copy of between `atLeast` and `length` bytes, saved as a Uint8Array or as an array of numbers. */
  bytes(field: string, length: number, atLeast = length): Uint8Array {
    const value = this.#fields[field];
    if (!(value instanceof Uint8Array)) return Uint8Array.from(this.integers(field, length, 0xff, atLeast));
    this.#read.add(field);
    if (value.length > length || value.length < atLeast) this.#shape(field, `${length} bytes`);
    // Not slice(): of a Node Buffer that is a view.
    return new Uint8Array(value);
  }

  /** A nested object without a version of its own. */
  nested(field: string): SavedFields {
    const where = `${this.#where}.${field}`;
    return new SavedFields(where, asRecord(where, this.#take(field)));
  }

  /** Exactly `count` nested objects. */
  list(field: string, count: number): SavedFields[] {
    const value = this.#take(field);
    if (!Array.isArray(value) || value.length !== count) this.#shape(field, `an array of ${count} objects`);
    return value.map((item: unknown, index) => {
      const where = `${this.#where}.${field}[${index}]`;
      return new SavedFields(where, asRecord(where, item));
    });
  }

  /** Refuses fields that nobody asked for: they would be lost by the next save. */
  end(): void {
    for (const field of Object.keys(this.#fields)) {
      if (!this.#read.has(field)) {
        throw new DeviceStateError("bad-shape", `${this.#where}.${field} is not a field of this state`);
      }
    }
  }

  /** For rules between fields: throws `out-of-range` unless `holds`. */
  require(holds: boolean, rule: string): void {
    if (!holds) throw new DeviceStateError("out-of-range", `${this.#where}: ${rule}`);
  }

  #take(field: string): unknown {
    this.#read.add(field);
    return Object.hasOwn(this.#fields, field) ? this.#fields[field] : undefined;
  }

  #shape(field: string, expected: string): never {
    throw new DeviceStateError("bad-shape", `${this.#where}.${field} must be ${expected}`);
  }

  #range(field: string, value: number, minimum: number, maximum: number): never {
    throw new DeviceStateError(
      "out-of-range",
      `${this.#where}.${field} is ${value}, must be ${minimum} to ${maximum}`,
    );
  }
}

function asRecord(where: string, value: unknown): Readonly<Record<string, unknown>> {
  if (value === null || typeof value !== "object" || Array.isArray(value) || ArrayBuffer.isView(value)) {
    throw new DeviceStateError("bad-shape", `${where} must be an object`);
  }
  return value as Readonly<Record<string, unknown>>;
}
