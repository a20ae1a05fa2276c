/*
 * What a device is given and what it offers. A device holds registers and moves lines; it never sees a vCPU, a promise or
 * the wall clock. Whatever it does to the outside (an interrupt line, a byte out, power off) is injected.
 */

/** A wire. `set` is idempotent; a device calls it with the level it drives, edges are the receiver's business. */
export interface InterruptLine {
  set(level: boolean): void;
}

/** One alarm of a device. Arming again replaces the deadline. */
export interface Timer {
  /** Guest time in ns at which `fire` is called; a time that has passed fires at the next opportunity. Infinity disarms. */
  arm(deadline: number): void;
  disarm(): void;
  /** Infinity when disarmed. */
  readonly deadline: number;
}

/** Guest time, and alarms on it. */
export interface Timebase {
  /** Guest time in ns, a safe integer that never goes back. */
  now(): number;
  /** Makes a disarmed timer. `fire` gets the deadline that was due, so that periodic timers do not drift. */
  timer(name: string, fire: (deadline: number) => void): Timer;
}

/** Port I/O. `port` is absolute. Reads return `width` bytes; whatever a guest passes, neither throws. */
export interface PortDevice {
  portRead(port: number, width: 1 | 2 | 4): number;
  portWrite(port: number, width: 1 | 2 | 4, value: number): void;
}

/** Memory-mapped I/O. `offset` is from the start of the registered range, any alignment. */
export interface MmioDevice {
  mmioRead(offset: number, width: 1 | 2 | 4): number;
  mmioWrite(offset: number, width: 1 | 2 | 4, value: number): void;
}

/** Values for people: registers and counters by name. Never holds a secret. */
export interface Inspection {
  readonly [name: string]: number | string | boolean | Inspection | readonly (number | string)[];
}

/**
 * A device that can be reset, saved and looked at. `State` is a plain, versioned type of its own (numbers, strings, booleans,
 * arrays, Uint8Array, nested objects), never the class: it must survive a round trip through CBOR.
 */
export interface Device<State = unknown> {
  readonly name: string;
  /** As after power-on or the platform's reset. */
  reset(): void;
  save(): State;
  /** Puts `save`'s result back, timers and line levels included. Throws `DeviceStateError` and changes nothing when it does not fit. */
  restore(state: unknown): void;
  inspect(): Inspection;
}
