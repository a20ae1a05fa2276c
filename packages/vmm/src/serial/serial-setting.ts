/*
 * What one serial port of a VM is joined to on the host, as plain data: the command line gives it, `openSerialEnd` makes the end
 * and `SerialPort.attach` takes the rest.
 */

/** Where bytes go that the guest sends, and come from that it receives. */
export type SerialEndSetting =
  /** The terminal of the command. */
  | { readonly kind: "console" }
  /** Nothing: output is thrown away, no input comes. */
  | { readonly kind: "null" }
  /** Output is appended to a file, which is made when it is not there. */
  | { readonly kind: "file"; readonly path: string }
  /** A stream socket that is listened on, or connected to again and again. */
  | { readonly kind: "socket"; readonly address: SocketAddress; readonly connect: boolean }
  /** A pseudo terminal, whose name is known once it is made. */
  | { readonly kind: "pty" }
  /** A WebSocket server. Browsers are let in only from `origins`, as in `http://localhost:8080`. */
  | {
      readonly kind: "websocket";
      readonly host: string;
      readonly port: number;
      readonly origins: readonly string[];
    };

export type SocketAddress =
  | { readonly family: "unix"; readonly path: string }
  | { readonly family: "tcp"; readonly host: string; readonly port: number };

/**
 * What happens to output that the host's end does not take as fast as it comes. None of them waits inside an instruction.
 *  hold: the machine rests between slices, guest time stands still, nothing is lost.
 *  stall: the transmitter stays busy (THRE clear) for at most `limit` ns of guest time, then drops until the end takes again.
 *  budget: `rate` bytes per second of guest time, `burst` at once; what is above it is dropped as it comes.
 *  ring: the newest `keep` bytes are kept, older ones dropped.
 */
export type OutputPolicy =
  | { readonly kind: "hold" }
  | { readonly kind: "stall"; readonly limit: number }
  | { readonly kind: "budget"; readonly rate: number; readonly burst: number }
  | { readonly kind: "ring" };

export interface SerialLineSetting {
  readonly policy: OutputPolicy;
  /** Bytes that are kept for an end that is slow or has no peer yet. */
  readonly keep: number;
  /** Characters take the time that the divisor gives them. */
  readonly pacing: boolean;
  /** "wait": input waits until the guest listens (DTR, RTS, FIFOs or the interrupt on). "now": it arrives anyway, and may be overrun. */
  readonly input: "wait" | "now";
}

export interface SerialSetting extends SerialLineSetting {
  /** 0 is COM1. */
  readonly port: number;
  readonly end: SerialEndSetting;
}

/** Bytes that are kept unless said otherwise: what a screen or two of scrolling back needs, and a boot's messages. */
export const DEFAULT_KEEP = 64 * 1024;
export const MAXIMUM_KEEP = 64 * 2 ** 20;
/** Guest time that `stall` waits unless said otherwise, ns. */
export const DEFAULT_STALL_LIMIT = 1_000_000_000;
/** Bytes a second and at once that `budget` lets through unless said otherwise: a console's text, not a flood. */
export const DEFAULT_BUDGET = { rate: 64 * 1024, burst: 64 * 1024 } as const;

/** What an end that does not say otherwise does: a file and the terminal lose nothing, a peer that comes and goes cannot hold the guest. */
export function defaultPolicy(end: SerialEndSetting): OutputPolicy {
  return end.kind === "file" || end.kind === "console" ? { kind: "hold" } : { kind: "ring" };
}

/** As the UART and its port are when nobody says otherwise. */
export function defaultSetting(end: SerialEndSetting): SerialLineSetting {
  return { policy: defaultPolicy(end), keep: DEFAULT_KEEP, pacing: false, input: "wait" };
}
