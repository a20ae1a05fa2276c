import { timingSafeEqual } from "node:crypto";
import {
  type NamedCommand,
  Rc,
  Rh,
  SessionAttribute,
  St,
  TpmError,
  TpmReader,
  TpmWriter,
} from "@entresol/tpm-types";
import { bigEndian, digest, hmac, noBytes } from "./session-keys.ts";
import { TpmSession } from "./tpm-session.ts";
import { TpmClientError } from "./transport.ts";

/* Commands and responses with their authorization areas (Part 1, 18 and 19), as the caller sees them. */

/** How a session goes with a command. */
export interface SessionUse {
  readonly session: TpmSession;
  /** authValue of the entity that it authorizes. Empty by default. */
  readonly auth?: Uint8Array | string;
  /** The policy has PolicyAuthValue: `auth` is in the HMAC. HMAC sessions have it there by themselves. */
  readonly authValueInPolicy?: boolean;
  /** The policy has PolicyPassword: `auth` is sent as it is. */
  readonly passwordInPolicy?: boolean;
  /** Encrypts the first parameter of the command, of the response. */
  readonly encryptCommand?: boolean;
  readonly encryptResponse?: boolean;
  /** The session is to be audited. */
  readonly audit?: boolean;
  /** The TPM ends the session with the command. */
  readonly last?: boolean;
}

/** A password, or a session. */
export type Authorization = Uint8Array | string | TpmSession | SessionUse;

/** One entry of an authorization area. */
export interface Slot {
  readonly password: Uint8Array;
  readonly use: SessionUse | undefined;
  readonly auth: Uint8Array;
  readonly attributes: number;
  /** Is the authValue part of the HMAC's key? */
  readonly keyed: boolean;
}

/** A password as it goes over the wire. */
export function passwordBytes(value: Uint8Array | string): Uint8Array {
  return typeof value === "string" ? new TextEncoder().encode(value) : value;
}

export function isPassword(authorization: Authorization): authorization is Uint8Array | string {
  return typeof authorization === "string" || authorization instanceof Uint8Array;
}

/** `name`: of the entity that is to be authorized, if the handle needs that. */
export function slotOf(authorization: Authorization, name: Uint8Array | undefined): Slot {
  if (isPassword(authorization))
    return {
      password: passwordBytes(authorization),
      use: undefined,
      auth: noBytes,
      attributes: SessionAttribute.continueSession,
      keyed: false,
    };
  const use: SessionUse = authorization instanceof TpmSession ? { session: authorization } : authorization;
  const { session } = use;
  const flags = SessionAttribute;
  const attributes =
    (use.last === true ? 0 : flags.continueSession) |
    (use.encryptCommand === true ? flags.decrypt : 0) |
    (use.encryptResponse === true ? flags.encrypt : 0) |
    (use.audit === true ? flags.audit : 0);
  const byKind = session.kind === "hmac" && name !== undefined && !same(session.boundName, name);
  return {
    password: noBytes,
    use,
    auth: passwordBytes(use.auth ?? noBytes),
    attributes,
    keyed: use.authValueInPolicy ?? byKind,
  };
}

function same(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a !== undefined && Buffer.compare(a, b) === 0;
}

/** With the first parameter en- or decrypted: its size stays in the clear. */
function withFirst(parameters: Uint8Array, crypt: (data: Uint8Array) => Uint8Array): Uint8Array {
  const size = new TpmReader(parameters).u16();
  return Buffer.concat([
    parameters.subarray(0, 2),
    crypt(parameters.subarray(2, 2 + size)),
    parameters.subarray(2 + size),
  ]);
}

export function buildCommand(
  definition: NamedCommand,
  handles: readonly number[],
  names: readonly Uint8Array[],
  slots: readonly Slot[],
  plain: Uint8Array,
): Uint8Array {
  const uses = slots.flatMap(({ use }) => (use === undefined ? [] : [use]));
  for (const { session } of uses) session.roll();
  const decryptor = slots.find(({ use }) => use?.encryptCommand === true);
  const encryptor = slots.find(({ use }) => use?.encryptResponse === true);
  if ((decryptor && !definition.firstParameterSized) || (encryptor && !definition.firstResponseSized))
    throw new TpmClientError("unsupported", `${definition.name}: its first parameter cannot be encrypted`);
  const parameters =
    decryptor?.use === undefined
      ? plain
      : withFirst(plain, (data) => decryptor.use!.session.crypt(decryptor.auth, data, true));
  const area = new TpmWriter();
  for (const [index, slot] of slots.entries()) {
    const { use } = slot;
    if (use === undefined) {
      area.u32(Rh.PW).sized(noBytes).u8(slot.attributes).sized(slot.password);
      continue;
    }
    // The first session vouches for the nonces of those that encrypt (Part 1, 19.6.5).
    const others = index > 0 ? [] : [decryptor, encryptor].filter((other) => other !== slot);
    const nonces = [...new Set(others)].flatMap((other) => other?.use?.session.nonceTpm ?? []);
    const { session } = use;
    const cpHash = digest(session.hash, bigEndian(definition.code, 4), ...names, parameters);
    const key = session.hmacKey(slot.keyed ? slot.auth : noBytes);
    const proof = (): Uint8Array => {
      if (use.passwordInPolicy === true) return slot.auth;
      if (key.length === 0 && session.kind !== "hmac") return noBytes;
      const { nonceCaller, nonceTpm } = session;
      return hmac(
        session.hash,
        key,
        cpHash,
        nonceCaller,
        nonceTpm,
        ...nonces,
        Uint8Array.of(slot.attributes),
      );
    };
    area.u32(session.handle).sized(session.nonceCaller).u8(slot.attributes).sized(proof());
  }
  const command = new TpmWriter();
  command
    .u16(slots.length > 0 ? St.SESSIONS : St.NO_SESSIONS)
    .u32(0)
    .u32(definition.code);
  for (const handle of handles) command.u32(handle);
  if (slots.length > 0) command.u32(area.length).bytes(area.finish());
  command.bytes(parameters).setU32(2, command.length);
  return command.finish();
}

/** Tag, size and response code. */
const HEADER = 10;

function malformed(name: string, what: string): TpmClientError {
  return new TpmClientError("malformed-response", `the response to ${name} is none: ${what}`);
}

export function readParameters(definition: NamedCommand, parameters: Uint8Array): Record<string, unknown> {
  const reader = new TpmReader(parameters);
  const values: Record<string, unknown> = {};
  try {
    for (const [key, type] of definition.responseList) values[key] = type.read(reader);
  } catch (error) {
    if (error instanceof TpmError)
      throw malformed(definition.name, `its parameters do not fit: ${error.message}`);
    throw error;
  }
  if (reader.remaining > 0)
    throw malformed(definition.name, `${reader.remaining} bytes behind the parameters`);
  return values;
}

/** Reads a response and verifies its sessions. Throws `TpmError` and `TpmClientError`. */
export function readResponse(
  definition: NamedCommand,
  slots: readonly Slot[],
  response: Uint8Array,
): { readonly handle: number; readonly parameters: Uint8Array } {
  const { name, code, responseHandle } = definition;
  if (response.length < HEADER) throw malformed(name, "it has no header");
  const reader = new TpmReader(response);
  const tag = reader.u16();
  if (reader.u32() !== response.length) throw malformed(name, "its size is not its length");
  const rc = reader.u32();
  if (rc !== Rc.SUCCESS) throw new TpmError(rc);
  try {
    if ((tag === St.SESSIONS) !== slots.length > 0) throw malformed(name, "its tag does not fit the command");
    const handle = responseHandle === undefined ? 0 : reader.u32();
    if (slots.length === 0) return { handle, parameters: reader.take(reader.remaining) };
    const parameters = reader.take(reader.u32());
    const decryptions: ((data: Uint8Array) => Uint8Array)[] = [];
    for (const { use, auth, keyed } of slots) {
      const nonceTpm = reader.take(reader.u16());
      const attributes = reader.u8();
      const given = reader.take(reader.u16());
      if (use === undefined) continue;
      const { session } = use;
      session.answered(nonceTpm.length > 0 ? nonceTpm : session.nonceTpm);
      const key = session.hmacKey(keyed ? auth : noBytes);
      const unproven = use.passwordInPolicy === true || (key.length === 0 && session.kind !== "hmac");
      const rpHash = digest(session.hash, bigEndian(Rc.SUCCESS, 4), bigEndian(code, 4), parameters);
      const expected = unproven
        ? noBytes
        : hmac(session.hash, key, rpHash, session.nonceTpm, session.nonceCaller, Uint8Array.of(attributes));
      if (given.length !== expected.length || !timingSafeEqual(given, expected))
        throw new TpmClientError("wrong-hmac", `the response to ${name} was not made by the session's TPM`);
      if (use.encryptResponse === true) decryptions.push((data) => session.crypt(auth, data, false));
    }
    if (reader.remaining > 0) throw malformed(name, `${reader.remaining} bytes behind the sessions`);
    return { handle, parameters: decryptions.reduce(withFirst, parameters) };
  } catch (error) {
    if (error instanceof TpmError) throw malformed(name, "it ends too early");
    throw error;
  }
}
