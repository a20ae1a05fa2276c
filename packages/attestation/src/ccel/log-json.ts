import {
  type EventLog,
  type JsonNode,
  type JsonObject,
  jsonMember,
  jsonOf,
  jsonOptional,
  type LoggedEvent,
  parseStrictJson,
} from "@entresol/evidence";
import { MalformedError, Writer } from "@entresol/wire";

/*
 * The log of a TD as JSON, as dstack gives it with its quotes: the firmware's events, and behind them those that the guest itself extends
 * into RTMR 3. By itself, or as text in the member `event_log` of a document.
 */

const spec = "dstack event log (JSON)";
/** TPM_ALG_SHA384: RTMRs have no other bank. */
const SHA384 = { id: 0x000c, digestSize: 48 } as const;
/** The guest's own events: hashed with their type and name before them. */
const RUNTIME_EVENT = 0x0800_0001;
const limits = { depth: 4, nodes: 500_000 };

const BRACKET = 0x5b;
const BRACE = 0x7b;

/** Does the log begin as JSON does? No binary log does: its first event extends register 0. */
export const isLogJson = (bytes: Uint8Array): boolean => bytes[0] === BRACKET || bytes[0] === BRACE;

function integer(node: JsonObject, name: string, most: number): number {
  const { value, offset } = jsonMember(node, name, "number", spec);
  if (!Number.isInteger(value) || value < 0 || value > most)
    throw new MalformedError("bad-value", offset, spec, `${name} is ${value}, 0 to ${most} are possible`);
  return value;
}

function bytesOf(node: JsonObject, name: string): Uint8Array {
  const { value, offset } = jsonMember(node, name, "string", spec);
  if (!/^(?:[\da-f]{2})*$/i.test(value))
    throw new MalformedError("bad-value", offset, spec, `${name} is not hexadecimal`);
  return Uint8Array.from({ length: value.length / 2 }, (_, i) =>
    Number.parseInt(value.slice(2 * i, 2 * i + 2), 16),
  );
}

function eventOf(node: JsonNode): LoggedEvent {
  const object = jsonOf(node, "object", spec);
  const rtmr = integer(object, "imr", 3);
  const type = integer(object, "event_type", 0xffff_ffff);
  const digest = bytesOf(object, "digest");
  if (digest.length !== SHA384.digestSize)
    throw new MalformedError("bad-value", object.offset, spec, `a digest of ${digest.length} bytes`);
  const payload = bytesOf(object, "event_payload");
  const name = new TextEncoder().encode(jsonOptional(object, "event", "string", spec)?.value ?? "");
  const colon = Uint8Array.of(0x3a);
  const data =
    type === RUNTIME_EVENT
      ? new Writer(64).u32(type).bytes(colon).bytes(name).bytes(colon).bytes(payload).finish()
      : payload;
  return {
    index: rtmr + 1,
    type,
    digests: [{ algorithm: SHA384.id, digest }],
    data,
    offset: object.offset,
    length: object.end - object.offset,
    dataOffset: object.offset,
  };
}

/** Throws MalformedError as strict JSON does, and `bad-value` for what is no such log. Offsets are those of the list's text. */
export function parseLogJson(bytes: Uint8Array): EventLog {
  let text = bytes;
  let root = parseStrictJson(text, 0, text.length, limits);
  if (root.kind === "object") {
    text = new TextEncoder().encode(jsonMember(root, "event_log", "string", spec).value);
    root = parseStrictJson(text, 0, text.length, limits);
  }
  const events = jsonOf(root, "array", spec).items.map(eventOf);
  return {
    format: "crypto-agile",
    specification: undefined,
    algorithms: [SHA384],
    events,
    startupLocality: 0,
    length: bytes.length,
  };
}
