import {
  type JsonNode,
  type JsonObject,
  jsonMember,
  jsonOf,
  jsonOptional,
  parseStrictJson,
} from "@entresol/evidence";
import { MalformedError } from "@entresol/wire";
import type { TcbStatus } from "../outcome.ts";
import { calendarTime } from "../x509/der.ts";

/* What Intel's provisioning certification service publishes about platforms: TCB info (versions 2 and 3) and enclave identities (version 2). */

const SPEC = "Intel SGX/TDX PCS API v4";
/** Far above what is published: some 30 levels in 2026. */
const MOST_LEVELS = 1024;
const MOST_ADVISORIES = 1024;

const statuses: ReadonlySet<string> = new Set<TcbStatus>([
  "UpToDate",
  "SWHardeningNeeded",
  "ConfigurationNeeded",
  "ConfigurationAndSWHardeningNeeded",
  "OutOfDate",
  "OutOfDateConfigurationNeeded",
  "Revoked",
]);

/** Of TDX modules and enclaves: they have no configuration of their own. */
const svnStatuses: ReadonlySet<TcbStatus> = new Set<TcbStatus>(["UpToDate", "OutOfDate", "Revoked"]);

/** A document whose part `body` is signed: the signature is over those bytes and no others. */
export interface SignedDocument {
  /** View of the signed bytes, from the opening to the closing brace. */
  readonly body: Uint8Array;
  /** R || S, 64 bytes. */
  readonly signature: Uint8Array;
}

/** What TCB info and identities have in common. */
export interface Published extends SignedDocument {
  /** "SGX", "TDX"; "QE", "TD_QE", "QVE". */
  readonly id: string;
  readonly version: number;
  /** Milliseconds since 1970: current from `issueDate`, before `nextUpdate`. */
  readonly issueDate: number;
  readonly nextUpdate: number;
  readonly evaluationDataNumber: number;
}

/** A level, in the order of publication: the first that fits counts. */
export interface Level {
  readonly status: TcbStatus;
  /** Milliseconds since 1970: everything published until then is fixed at this level. */
  readonly date: number;
  readonly advisories: readonly string[];
}

export interface SvnLevel extends Level {
  readonly isvSvn: number;
}

export interface PlatformLevel extends Level {
  /** 16 SVNs each. */
  readonly sgx: Uint8Array;
  readonly tdx: Uint8Array | undefined;
  readonly pceSvn: number;
}

export interface ModuleIdentity {
  /** "TDX_03"; undefined for the one of `tdxModule`. */
  readonly id: string | undefined;
  /** 48 bytes, 8 bytes, 8 bytes. */
  readonly mrSigner: Uint8Array;
  readonly attributes: Uint8Array;
  readonly attributesMask: Uint8Array;
  readonly levels: readonly SvnLevel[];
}

export interface TcbInfo extends Published {
  readonly fmspc: Uint8Array;
  readonly pceId: Uint8Array;
  readonly tcbType: number;
  readonly module: ModuleIdentity | undefined;
  readonly moduleIdentities: readonly ModuleIdentity[];
  readonly levels: readonly PlatformLevel[];
}

export interface QeIdentity extends Published {
  /** 4 bytes each, little-endian as in a report. */
  readonly miscSelect: Uint8Array;
  readonly miscSelectMask: Uint8Array;
  /** 16 bytes each. */
  readonly attributes: Uint8Array;
  readonly attributesMask: Uint8Array;
  readonly mrSigner: Uint8Array;
  readonly isvProdId: number;
  readonly levels: readonly SvnLevel[];
}

function wrong(node: JsonNode, message: string): never {
  throw new MalformedError("bad-value", node.offset, SPEC, message);
}

/** Value of a hexadecimal digit by its code; 255 for others. */
const digits = new Uint8Array(128).fill(255);
for (const [value, letters] of ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"].entries())
  digits[letters.charCodeAt(0)] = value;
for (const [value, letter] of ["a", "b", "c", "d", "e", "f"].entries()) {
  digits[letter.charCodeAt(0)] = 10 + value;
  digits[letter.toUpperCase().charCodeAt(0)] = 10 + value;
}

function hexMember(object: JsonObject, name: string, size: number): Uint8Array {
  const node = jsonMember(object, name, "string", SPEC);
  const { value } = node;
  const refuse = (): never => wrong(node, `${name} is not ${size} bytes of hexadecimal`);
  if (value.length !== 2 * size) refuse();
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) {
    const high = digits[value.charCodeAt(2 * i)] ?? 255;
    const low = digits[value.charCodeAt(2 * i + 1)] ?? 255;
    if (high > 15 || low > 15) refuse();
    bytes[i] = 16 * high + low;
  }
  return bytes;
}

function whole(object: JsonObject, name: string, most: number): number {
  const node = jsonMember(object, name, "number", SPEC);
  if (!Number.isInteger(node.value) || node.value < 0 || node.value > most)
    wrong(node, `${name} is not a number from 0 to ${most}`);
  return node.value;
}

const SHAPE = "dddd-dd-ddTdd:dd:ddZ";

/** To the second: Intel writes no fractions. */
function time(object: JsonObject, name: string): number {
  const node = jsonMember(object, name, "string", SPEC);
  const { value } = node;
  let shaped = value.length === SHAPE.length;
  for (let i = 0; shaped && i < SHAPE.length; i++)
    shaped = SHAPE[i] === "d" ? (digits[value.charCodeAt(i)] ?? 255) < 10 : value[i] === SHAPE[i];
  const pair = (at: number): number =>
    10 * (digits[value.charCodeAt(at)] as number) + (digits[value.charCodeAt(at + 1)] as number);
  const at = shaped
    ? calendarTime(100 * pair(0) + pair(2), pair(5), pair(8), pair(11), pair(14), pair(17))
    : undefined;
  return at ?? wrong(node, `${name} is not a time of ISO 8601 in UTC, to the second`);
}

function list(object: JsonObject, name: string, most: number): readonly JsonNode[] {
  const node = jsonMember(object, name, "array", SPEC);
  if (node.items.length > most) wrong(node, `${name} has ${node.items.length} entries, more than ${most}`);
  return node.items;
}

function level(object: JsonObject): Level {
  const status = jsonMember(object, "tcbStatus", "string", SPEC);
  // An unknown status must not pass for a good one.
  if (!statuses.has(status.value)) wrong(status, `the TCB status "${status.value}" is not known`);
  const advisories =
    object.get("advisoryIDs") !== undefined ? list(object, "advisoryIDs", MOST_ADVISORIES) : [];
  return {
    status: status.value as TcbStatus,
    date: time(object, "tcbDate"),
    advisories: advisories.map((node) => jsonOf(node, "string", SPEC).value),
  };
}

/**
 * Levels stand in descending order, and the first that fits counts: one that only stands behind a level that it is not below can never
 * count, and who wrote the list so meant something else than it says.
 */
function svnLevels(object: JsonObject): SvnLevel[] {
  let before = Number.POSITIVE_INFINITY;
  return list(object, "tcbLevels", MOST_LEVELS).map((node) => {
    const one = jsonOf(node, "object", SPEC);
    const isvSvn = whole(jsonMember(one, "tcb", "object", SPEC), "isvsvn", 65535);
    if (isvSvn >= before) wrong(node, `a level of ISVSVN ${isvSvn} stands behind one of ${before}`);
    before = isvSvn;
    const found = { isvSvn, ...level(one) };
    if (!svnStatuses.has(found.status))
      wrong(node, `the status ${found.status}, which neither a module nor an enclave can have`);
    return found;
  });
}

function components(tcb: JsonObject, name: string): Uint8Array {
  const items = list(tcb, name, 16);
  if (items.length !== 16) wrong(tcb, `${name} has ${items.length} entries, 16 are right`);
  const svns = new Uint8Array(16);
  for (let i = 0; i < 16; i++) svns[i] = whole(jsonOf(items[i] as JsonNode, "object", SPEC), "svn", 255);
  return svns;
}

/** Version 2 writes the components as members with numbers. */
function oldComponents(tcb: JsonObject): Uint8Array {
  return Uint8Array.from({ length: 16 }, (_, i) =>
    whole(tcb, `sgxtcbcomp${String(i + 1).padStart(2, "0")}svn`, 255),
  );
}

function platformLevels(object: JsonObject, version: number, id: string): PlatformLevel[] {
  let before: PlatformLevel | undefined;
  return list(object, "tcbLevels", MOST_LEVELS).map((node) => {
    const one = jsonOf(node, "object", SPEC);
    const tcb = jsonMember(one, "tcb", "object", SPEC);
    const found: PlatformLevel = {
      sgx: version === 2 ? oldComponents(tcb) : components(tcb, "sgxtcbcomponents"),
      tdx: id === "TDX" ? components(tcb, "tdxtcbcomponents") : undefined,
      pceSvn: whole(tcb, "pcesvn", 65535),
      ...level(one),
    };
    if (before !== undefined && covers(found, before))
      wrong(node, "a level stands behind one that it is not below");
    before = found;
    return found;
  });
}

/** Does everything that reaches `one` reach `other` as well? */
function covers(one: PlatformLevel, other: PlatformLevel): boolean {
  if (one.pceSvn < other.pceSvn) return false;
  for (let i = 0; i < 16; i++) {
    if ((one.sgx[i] as number) < (other.sgx[i] as number)) return false;
    if ((one.tdx?.[i] ?? 0) < (other.tdx?.[i] ?? 0)) return false;
  }
  return true;
}

function moduleIdentity(object: JsonObject, named: boolean): ModuleIdentity {
  return {
    id: named ? jsonMember(object, "id", "string", SPEC).value : undefined,
    mrSigner: hexMember(object, "mrsigner", 48),
    attributes: hexMember(object, "attributes", 8),
    attributesMask: hexMember(object, "attributesMask", 8),
    levels: named ? svnLevels(object) : [],
  };
}

/** The object `name` of the document, with what is signed of it. Nothing else but the signature may stand beside it. */
function document(bytes: Uint8Array, name: string): { readonly object: JsonObject } & SignedDocument {
  const root = jsonOf(parseStrictJson(bytes), "object", SPEC);
  for (const member of root.members.keys())
    if (member !== name && member !== "signature") wrong(root, `"${member}" beside ${name} and signature`);
  const object = jsonMember(root, name, "object", SPEC);
  return {
    object,
    body: bytes.subarray(object.offset, object.end),
    signature: hexMember(root, "signature", 64),
  };
}

function published(object: JsonObject, id: string, version: number) {
  return {
    id,
    version,
    issueDate: time(object, "issueDate"),
    nextUpdate: time(object, "nextUpdate"),
    evaluationDataNumber: whole(object, "tcbEvaluationDataNumber", 0x7fff_ffff),
  };
}

/** TCB info as Intel's service gives it: `{"tcbInfo": {…}, "signature": "…"}`. Throws `MalformedError` with the offset in `bytes`. */
export function parseTcbInfo(bytes: Uint8Array): TcbInfo {
  const { object, body, signature } = document(bytes, "tcbInfo");
  const version = whole(object, "version", 255);
  if (version !== 2 && version !== 3)
    throw new MalformedError(
      "bad-version",
      object.offset,
      SPEC,
      `TCB info of version ${version}, 2 or 3 is known`,
    );
  // Version 2 is SGX's alone and does not say so.
  const id = version === 2 ? "SGX" : jsonMember(object, "id", "string", SPEC).value;
  const module = jsonOptional(object, "tdxModule", "object", SPEC);
  const identities =
    object.get("tdxModuleIdentities") !== undefined ? list(object, "tdxModuleIdentities", 256) : [];
  return {
    ...published(object, id, version),
    body,
    signature,
    fmspc: hexMember(object, "fmspc", 6),
    pceId: hexMember(object, "pceId", 2),
    tcbType: whole(object, "tcbType", 255),
    module: module && moduleIdentity(module, false),
    moduleIdentities: identities.map((node) => moduleIdentity(jsonOf(node, "object", SPEC), true)),
    levels: platformLevels(object, version, id),
  };
}

/** An enclave identity: `{"enclaveIdentity": {…}, "signature": "…"}`. Throws `MalformedError`. */
export function parseQeIdentity(bytes: Uint8Array): QeIdentity {
  const { object, body, signature } = document(bytes, "enclaveIdentity");
  const version = whole(object, "version", 255);
  if (version !== 2)
    throw new MalformedError(
      "bad-version",
      object.offset,
      SPEC,
      `an enclave identity of version ${version}, 2 is known`,
    );
  return {
    ...published(object, jsonMember(object, "id", "string", SPEC).value, version),
    body,
    signature,
    // Written as a number: most significant byte first.
    miscSelect: hexMember(object, "miscselect", 4).reverse(),
    miscSelectMask: hexMember(object, "miscselectMask", 4).reverse(),
    attributes: hexMember(object, "attributes", 16),
    attributesMask: hexMember(object, "attributesMask", 16),
    mrSigner: hexMember(object, "mrsigner", 32),
    isvProdId: whole(object, "isvprodid", 65535),
    levels: svnLevels(object),
  };
}
