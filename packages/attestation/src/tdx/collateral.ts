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

function hexMember(object: JsonObject, name: string, size: number): Uint8Array {
  const node = jsonMember(object, name, "string", SPEC);
  if (node.value.length !== 2 * size || !/^[0-9a-fA-F]*$/.test(node.value))
    wrong(node, `${name} is not ${size} bytes of hexadecimal`);
  return Uint8Array.from({ length: size }, (_, i) => Number.parseInt(node.value.slice(2 * i, 2 * i + 2), 16));
}

function whole(object: JsonObject, name: string, most: number): number {
  const node = jsonMember(object, name, "number", SPEC);
  if (!Number.isInteger(node.value) || node.value < 0 || node.value > most)
    wrong(node, `${name} is not a number from 0 to ${most}`);
  return node.value;
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/;

function time(object: JsonObject, name: string): number {
  const node = jsonMember(object, name, "string", SPEC);
  const value = TIME.test(node.value) ? Date.parse(node.value) : Number.NaN;
  return Number.isNaN(value) ? wrong(node, `${name} is not a time of ISO 8601 in UTC`) : value;
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
  const advisories = object.members.has("advisoryIDs") ? list(object, "advisoryIDs", MOST_ADVISORIES) : [];
  return {
    status: status.value as TcbStatus,
    date: time(object, "tcbDate"),
    advisories: advisories.map((node) => jsonOf(node, "string", SPEC).value),
  };
}

function svnLevels(object: JsonObject): SvnLevel[] {
  return list(object, "tcbLevels", MOST_LEVELS).map((node) => {
    const one = jsonOf(node, "object", SPEC);
    return { isvSvn: whole(jsonMember(one, "tcb", "object", SPEC), "isvsvn", 65535), ...level(one) };
  });
}

function components(tcb: JsonObject, name: string): Uint8Array {
  const items = list(tcb, name, 16);
  if (items.length !== 16) wrong(tcb, `${name} has ${items.length} entries, 16 are right`);
  return Uint8Array.from(items, (node) => whole(jsonOf(node, "object", SPEC), "svn", 255));
}

/** Version 2 writes the components as members with numbers. */
function oldComponents(tcb: JsonObject): Uint8Array {
  return Uint8Array.from({ length: 16 }, (_, i) =>
    whole(tcb, `sgxtcbcomp${String(i + 1).padStart(2, "0")}svn`, 255),
  );
}

function platformLevels(object: JsonObject, version: number, id: string): PlatformLevel[] {
  return list(object, "tcbLevels", MOST_LEVELS).map((node) => {
    const one = jsonOf(node, "object", SPEC);
    const tcb = jsonMember(one, "tcb", "object", SPEC);
    return {
      sgx: version === 2 ? oldComponents(tcb) : components(tcb, "sgxtcbcomponents"),
      tdx: id === "TDX" ? components(tcb, "tdxtcbcomponents") : undefined,
      pceSvn: whole(tcb, "pcesvn", 65535),
      ...level(one),
    };
  });
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
  const identities = object.members.has("tdxModuleIdentities")
    ? list(object, "tdxModuleIdentities", 256)
    : [];
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
