import { StateKind } from "@entresol/tpm";
import { BUFFER_LIMITS, isStateKind, type TpmHost } from "./tpm-host.ts";

/*
 * swtpm's control channel, command by command (swtpm's include/tpm_ioctl.h, "swtpm_ioctls" manual): a request is a 32-bit code and a body, a
 * reply a 32-bit result and what the command gives. Everything is big-endian. This table drives parsing, answers, documentation and tests.
 */

/** TPM 1.2 result codes, which the control channel speaks. */
export const Result = {
  SUCCESS: 0,
  BAD_PARAMETER: 0x03,
  FAIL: 0x09,
  BAD_ORDINAL: 0x0a,
  IOERROR: 0x1f,
  BAD_LOCALITY: 0x3d,
  /** Nothing of this kind is stored; not fatal. */
  RETRY: 0x800,
} as const;

/** Storage that has to be this process's before a state is read from it or written to it. */
export interface LockableStorage {
  readonly held: boolean;
  /** Tries again so often, every 10 ms. Rejects when somebody else has it. */
  lock(options: { readonly retries: number }): Promise<void>;
}

/** Effects of commands on the process around the TPM. */
export interface ControlSurroundings {
  /** Undefined: nobody else could have it. */
  readonly storage?: LockableStorage | undefined;
  /** The state of a running TPM has left, to go on elsewhere. */
  handedOver?(): void;
  /** SHUTDOWN was answered: the process ends. */
  shutdown(): void;
  /** Takes the data connection that came with the command. False: there is one already, or none came. */
  takeDataConnection(): "taken" | "busy" | "none";
  /** What GET_INFO tells. */
  information(flags: bigint): string;
}

export interface ControlCommand {
  readonly code: number;
  readonly name: string;
  /** Bytes of the body, fewest and most; what follows a length field is not counted. */
  readonly body: readonly [least: number, most: number];
  /** The last four bytes of the body are a length, and so many bytes follow: at most this many. */
  readonly payload?: number;
  /** How often the lock of the storage is tried for before; undefined: it is not needed. */
  retries?(body: DataView): number;
  /** Refused with BAD_ORDINAL otherwise. */
  readonly state?: "running" | "stopped";
  /** The reply. `body` has as many bytes as `body` says; what was thrown is answered with FAIL. */
  answer(host: TpmHost, body: DataView, surroundings: ControlSurroundings, payload: Uint8Array): Uint8Array;
  /** Takes the payload in pieces as it comes, so that it may be of any size. */
  feed?(host: TpmHost, piece: Uint8Array): void;
}

/** 32-bit words. */
export function words(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  const view = new DataView(bytes.buffer);
  for (const [i, value] of values.entries()) view.setUint32(4 * i, value);
  return bytes;
}

/** Bytes in excess are passed over, as swtpm does for some commands. */
const MORE = Number.POSITIVE_INFINITY;
const success = words(Result.SUCCESS);
/** Largest state that is taken, in bytes. */
export const LARGEST_STATE = 2 ** 20;
const SAVESTATE = 3;
/** As QEMU has it for LOCK_STORAGE: 3 s, in which the machine that a TPM comes from may let go of it. */
const INCOMING_RETRIES = 300;
const MOST_RETRIES = 6000;
/** Bytes of JSON in one reply of GET_INFO, its zero byte included. */
const INFO_PIECE = 3060;

const GetStateFlag = { DECRYPTED: 1, ENCRYPTED: 2 } as const;
const ConfigFlag = { FILE_KEY: 1, MIGRATION_KEY: 2 } as const;

/** Bits of GET_CAPABILITY by command code; SEND_COMMAND_HEADER is of the data channel. */
const capabilityBits: readonly (readonly [code: number, bit: number])[] = [
  [0x02, 0],
  [0x03, 1],
  [0x04, 2],
  [0x05, 3],
  [0x06, 4],
  [0x09, 5],
  [0x0a, 6],
  [0x0b, 7],
  [0x0c, 8],
  [0x0d, 9],
  [0x0e, 10],
  [0x0f, 11],
  [0x10, 12],
  [0x11, 13],
  [0x12, 14],
  [0x13, 16],
];
const SEND_COMMAND_HEADER = 1 << 15;
/** What GET_CAPABILITY says. */
export const CAPABILITIES: number = capabilityBits.reduce(
  (bits, [, bit]) => bits | (1 << bit),
  SEND_COMMAND_HEADER,
);

function stateReply(host: TpmHost, body: DataView, surroundings: ControlSurroundings): Uint8Array {
  const clear = (body.getUint32(0) & GetStateFlag.DECRYPTED) !== 0;
  const kind = body.getUint32(4);
  const offset = body.getUint32(8);
  const state = host.getState(kind, clear);
  // QEMU waits for the whole header even of a failure, so there is always one.
  if (state === undefined) return words(Result.RETRY, 0, 0, 0);
  if (offset > state.bytes.length) return words(Result.BAD_PARAMETER, 0, 0, 0);
  if (kind === StateKind.volatile && host.running) surroundings.handedOver?.();
  const data = state.bytes.subarray(offset);
  const flags = state.encrypted ? GetStateFlag.ENCRYPTED : 0;
  return Buffer.concat([words(Result.SUCCESS, flags, state.bytes.length, data.length), data]);
}

function informationReply(body: DataView, surroundings: ControlSurroundings): Uint8Array {
  const text = Buffer.from(`${surroundings.information(body.getBigUint64(0))}\0`, "utf8");
  const offset = body.getUint32(8);
  if (offset >= text.length - 1) return words(Result.BAD_PARAMETER);
  const piece = text.subarray(offset, offset + INFO_PIECE);
  return Buffer.concat([words(Result.SUCCESS, text.length, piece.length), piece]);
}

export const controlCommands: readonly ControlCommand[] = [
  {
    code: 0x01,
    name: "GET_CAPABILITY",
    body: [0, MORE],
    answer: () => words(Result.SUCCESS, CAPABILITIES),
  },
  {
    code: 0x02,
    name: "INIT",
    body: [4, 4],
    retries: () => INCOMING_RETRIES,
    answer(host, body) {
      host.start((body.getUint32(0) & 1) !== 0);
      return success;
    },
  },
  {
    code: 0x03,
    name: "SHUTDOWN",
    body: [0, 0],
    answer(host, _body, surroundings) {
      host.stop();
      surroundings.shutdown();
      return success;
    },
  },
  {
    code: 0x04,
    name: "GET_TPMESTABLISHED",
    body: [0, 0],
    // Answered without power too: QEMU waits for all 8 bytes.
    answer: (host) => Uint8Array.of(0, 0, 0, 0, host.established ? 1 : 0, 0, 0, 0),
  },
  {
    code: 0x05,
    name: "SET_LOCALITY",
    body: [1, MORE],
    answer: (host, body) => (host.setLocality(body.getUint8(0)) ? success : words(Result.BAD_LOCALITY)),
  },
  {
    code: 0x06,
    name: "HASH_START",
    body: [0, 0],
    state: "running",
    answer(host) {
      host.hashStart();
      return success;
    },
  },
  {
    code: 0x07,
    name: "HASH_DATA",
    body: [4, 4],
    payload: 0xffff_ffff,
    state: "running",
    feed: (host, piece) => host.hashData(piece),
    answer: () => success,
  },
  {
    code: 0x08,
    name: "HASH_END",
    body: [0, 0],
    state: "running",
    answer(host) {
      host.hashEnd();
      return success;
    },
  },
  {
    code: 0x09,
    name: "CANCEL_TPM_CMD",
    body: [0, 0],
    state: "running",
    answer(host) {
      host.cancel();
      return success;
    },
  },
  {
    code: 0x0a,
    name: "STORE_VOLATILE",
    body: [0, 0],
    state: "running",
    answer(host) {
      host.storeVolatile();
      return success;
    },
  },
  {
    code: 0x0b,
    name: "RESET_TPMESTABLISHED",
    body: [1, MORE],
    state: "running",
    answer: (host, body) => (host.resetEstablished(body.getUint8(0)) ? success : words(Result.BAD_LOCALITY)),
  },
  {
    code: 0x0c,
    name: "GET_STATEBLOB",
    body: [12, MORE],
    answer: (host, body, surroundings) => stateReply(host, body, surroundings),
  },
  {
    code: 0x0d,
    name: "SET_STATEBLOB",
    body: [12, 12],
    payload: LARGEST_STATE,
    state: "stopped",
    retries: () => INCOMING_RETRIES,
    answer(host, body, _surroundings, payload) {
      const kind = body.getUint32(4);
      // Of TPM 1.2, and empty: senders pass it on as they got it.
      if (kind === SAVESTATE && payload.length === 0) return success;
      if (!isStateKind(kind)) return words(Result.BAD_PARAMETER);
      host.setState(kind, (body.getUint32(0) & GetStateFlag.ENCRYPTED) !== 0, payload);
      return success;
    },
  },
  {
    code: 0x0e,
    name: "STOP",
    body: [0, 0],
    answer(host) {
      host.stop();
      return success;
    },
  },
  {
    code: 0x0f,
    name: "GET_CONFIG",
    body: [0, 0],
    answer: (host) =>
      words(
        Result.SUCCESS,
        (host.hasStateKey ? ConfigFlag.FILE_KEY : 0) | (host.hasMigrationKey ? ConfigFlag.MIGRATION_KEY : 0),
      ),
  },
  {
    code: 0x10,
    name: "SET_DATAFD",
    body: [0, 0],
    answer(_host, _body, surroundings) {
      const outcome = surroundings.takeDataConnection();
      return outcome === "taken"
        ? success
        : words(outcome === "busy" ? Result.IOERROR : Result.BAD_PARAMETER);
    },
  },
  {
    code: 0x11,
    name: "SET_BUFFERSIZE",
    body: [4, MORE],
    answer(host, body) {
      const size = body.getUint32(0);
      if (size > 0 && host.running) return words(Result.BAD_ORDINAL);
      const now = size === 0 ? host.bufferSize : host.setBufferSize(size);
      return words(Result.SUCCESS, now, BUFFER_LIMITS.minimum, BUFFER_LIMITS.maximum);
    },
  },
  {
    code: 0x12,
    name: "GET_INFO",
    body: [16, MORE],
    answer: (_host, body, surroundings) => informationReply(body, surroundings),
  },
  {
    code: 0x13,
    name: "LOCK_STORAGE",
    body: [4, MORE],
    retries: (body) => Math.min(body.getUint32(0), MOST_RETRIES),
    answer: () => success,
  },
];
