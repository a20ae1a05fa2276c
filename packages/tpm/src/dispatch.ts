import {
  type CommandName,
  commandOf,
  type NamedCommand,
  ofHandle,
  ofParameter,
  Rc,
  St,
  TpmError,
  TpmReader,
  TpmWriter,
} from "@entresol/tpm-types";
import { Authorization, commandHash, responseHash } from "./authorization.ts";
import { auditsCommand, extendCommandAudit } from "./command-audit.ts";
import { handlers } from "./commands/index.ts";
import type { Engine } from "./engine.ts";
import { requirePossible, requireUsable } from "./entities.ts";
import { afterCommand } from "./shutdown.ts";

/* One command from its bytes to the bytes of its response (Part 3, clause 5). */

const HEADER = 10;
/** A tag of another structure is told from a value that is no tag at all, as the reference does. */
const structureTags = new Set<number>(Object.values(St));
/** Commands that run before start-up, and not after it. */
const beforeStartup: ReadonlySet<string> = new Set(["Startup"]);
/** Commands that a TPM in failure mode still answers. */
const inFailureMode: ReadonlySet<string> = new Set(["GetTestResult", "GetCapability"]);

/** A response without parameters: all that an error is. `tag` is RSP_COMMAND for TPM_RC_BAD_TAG, else NO_SESSIONS. */
export function errorResponse(rc: number): Uint8Array {
  return new TpmWriter(HEADER)
    .u16(rc === Rc.BAD_TAG ? St.RSP_COMMAND : St.NO_SESSIONS)
    .u32(HEADER)
    .u32(rc)
    .finish();
}

/**
 * Runs a command. Throws `TpmError` for every response code but success; whatever else comes out is a fault of this program, which
 * the caller answers by failure mode.
 */
export function dispatch(engine: Engine, bytes: Uint8Array, failed: boolean): Uint8Array {
  const header = new TpmReader(bytes);
  const tag = header.u16();
  if (tag !== St.NO_SESSIONS && tag !== St.SESSIONS)
    throw new TpmError(structureTags.has(tag) ? Rc.BAD_TAG : Rc.VALUE);
  const size = header.u32();
  const code = header.u32();
  if (size !== bytes.length) throw new TpmError(Rc.COMMAND_SIZE);
  const command = commandOf(code);
  if (failed && (command === undefined || !inFailureMode.has(command.name))) throw new TpmError(Rc.FAILURE);
  if (command === undefined || handlers[command.name] === undefined) throw new TpmError(Rc.COMMAND_CODE);
  const { started } = engine.state.volatile;
  if (started === beforeStartup.has(command.name) && !failed) throw new TpmError(Rc.INITIALIZE);
  if (command.readOnlyBlocked && engine.state.clear.readOnly) throw new TpmError(Rc.READ_ONLY);

  const handles = readHandles(engine, command, header);
  // Decryption works in place, and what the caller keeps must not change under it.
  const rest = new Uint8Array(bytes.subarray(header.offset));
  const audited = auditsCommand(engine, command);
  let authorization: Authorization | undefined;
  let parameters = rest;
  if (tag === St.SESSIONS) {
    const reader = new TpmReader(rest);
    const areaSize = reader.u32();
    // The smallest session: handle, two empty buffers, attributes.
    if (areaSize < 9 || areaSize > reader.remaining) throw new TpmError(Rc.SIZE);
    parameters = rest.subarray(4 + areaSize);
    const area = new TpmReader(rest, 4, 4 + areaSize);
    authorization = Authorization.check(engine, command, handles, area, parameters, audited);
  } else {
    Authorization.none(command);
  }
  const cpHash =
    audited === undefined
      ? undefined
      : (authorization?.cpHash(audited) ?? commandHash(engine, audited, code, handles, parameters));

  const { response, handle } = run(engine, command, handles, parameters, authorization);
  const { volatile } = engine.state;
  if (authorization?.audited !== true && !command.noSessions) volatile.exclusiveSession = undefined;
  // A command that changes the hash is not audited itself: there is no digest that it could be added to (Part 3, 21.2).
  if (audited !== undefined && cpHash !== undefined && audited === engine.state.permanent.auditHash)
    extendCommandAudit(engine, command, cpHash, responseHash(engine, audited, code, response));
  afterCommand(engine, command.name);

  const writer = new TpmWriter(HEADER + response.length + 64);
  writer
    .u16(authorization === undefined ? St.NO_SESSIONS : St.SESSIONS)
    .u32(0)
    .u32(Rc.SUCCESS);
  if (handle !== undefined) writer.u32(handle);
  if (authorization === undefined) {
    writer.bytes(response);
  } else {
    const area = authorization.respond(response);
    writer.u32(response.length).bytes(response).bytes(area);
  }
  writer.setU32(2, writer.length);
  return writer.finish();
}

/** Reads the handle area, and finds each handle's entity there and usable. */
function readHandles(engine: Engine, command: NamedCommand, reader: TpmReader): number[] {
  const handles: number[] = [];
  for (const [index, { type }] of command.handleList.entries()) {
    try {
      const handle = type.read(reader);
      requirePossible(engine, handle);
      handles.push(handle);
    } catch (error) {
      throw at(error, (rc) => ofHandle(rc, index + 1));
    }
  }
  for (const [index, handle] of handles.entries()) {
    try {
      requireUsable(engine, handle, index);
    } catch (error) {
      throw at(error, (rc) => ofHandle(rc, index + 1));
    }
  }
  return handles;
}

/** A `TpmError` said of one thing; what is none stays as it is. */
function at(error: unknown, place: (rc: number) => number): unknown {
  return error instanceof TpmError ? new TpmError(place(error.rc)) : error;
}

/** Unmarshals the parameters, runs the handler and marshals what it gives. */
function run(
  engine: Engine,
  command: NamedCommand,
  handles: readonly number[],
  bytes: Uint8Array,
  authorization: Authorization | undefined,
): { response: Uint8Array; handle: number | undefined } {
  const reader = new TpmReader(bytes);
  reader.without = engine.without;
  const parameters: Record<string, unknown> = {};
  for (const [index, [name, type]] of command.parameterList.entries()) {
    try {
      parameters[name] = type.read(reader);
    } catch (error) {
      throw at(error, (rc) => ofParameter(rc, index + 1));
    }
  }
  if (reader.remaining > 0) throw new TpmError(Rc.SIZE);
  const byName: Record<string, number> = {};
  for (const [index, name] of command.handleNames.entries()) byName[name] = handles[index]!;
  const call = { handles: byName, parameters, code: command.code, sessions: authorization?.handles ?? [] };
  // The table pairs every handler with the types of its own command; here there is only one of them at a time.
  const handler = handlers[command.name] as unknown as (
    engine: Engine,
    call: unknown,
  ) => Record<string, unknown>;
  const result = handler(engine, call);
  const writer = new TpmWriter(512);
  for (const [name, type] of command.responseList) type.write(writer, result[name]);
  return {
    // Encryption works in place, on a copy of its own.
    response: writer.finish(),
    handle: command.responseHandle === undefined ? undefined : (result["responseHandle"] as number),
  };
}

/** Commands that the engine carries out, by name. */
export function implementedCommands(): readonly CommandName[] {
  return Object.keys(handlers) as CommandName[];
}
