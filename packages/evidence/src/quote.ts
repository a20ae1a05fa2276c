import { hex, MalformedError, Writer } from "@entresol/wire";
import { ByteMap, type Parsed } from "./byte-map.ts";
import {
  buildCertificationData,
  buildQeReport,
  type Notes,
  type QeReportCertification,
  type QeReportInput,
  qeReportInput,
  readCertificationData,
  readQeReport,
} from "./certification-data.ts";
import { trailingFinding } from "./finding.ts";
import { Layout, type LayoutInput, type LayoutValues } from "./layout.ts";
import { type SgxReportFields, sgxReportLayout } from "./sgx-report.ts";
import {
  type TdBody10Fields,
  type TdBody15Fields,
  type TdBodyExFields,
  TEE_TYPE_TDX,
  tdBody10Layout,
  tdBody15Layout,
  tdBodyExLayout,
} from "./td-report.ts";

/* ECDSA quotes of SGX and TDX: header, body, signature data. Versions 3 (SGX), 4 (both) and 5 (both, with a typed body). */

const spec = "Intel TDX DCAP Quoting Library API, A.3";
const spec3 = "Intel SGX DCAP Quoting Library API, A.4";

export const TEE_TYPE_SGX = 0;
/** ECDSA over P-256: the one attestation key type that production platforms use. */
export const ATTESTATION_KEY_P256 = 2;
/** QE vendor id of Intel. */
export const INTEL_QE_VENDOR_ID = "939a7233f79c4ca9940a0db3957f0607";

const head = [
  { name: "version", offset: 0, type: "u16", clause: "quote header", what: "3, 4 or 5" },
  { name: "attestationKeyType", offset: 2, type: "u16", clause: "quote header", what: "2: ECDSA P-256" },
] as const;
const tail = [
  { name: "qeVendorId", offset: 12, type: 16, clause: "quote header", what: "vendor of the quoting enclave" },
  { name: "userData", offset: 28, type: 20, clause: "quote header", what: "by the quoting enclave's vendor" },
] as const;
export const quoteHeader3Layout = new Layout("quote header, version 3", spec3, 48, [
  ...head,
  { name: "teeType", offset: 4, type: "u32", clause: "quote header", what: "0: SGX" },
  { name: "qeSvn", offset: 8, type: "u16", clause: "quote header", what: "of the quoting enclave" },
  { name: "pceSvn", offset: 10, type: "u16", clause: "quote header", what: "of the provisioning enclave" },
  ...tail,
]);
export const quoteHeaderLayout = new Layout("quote header, versions 4 and 5", spec, 48, [
  ...head,
  { name: "teeType", offset: 4, type: "u32", clause: "quote header", what: "0: SGX, 0x81: TDX" },
  { name: "reserved8", offset: 8, type: "u16", clause: "quote header", what: "reserved", reserved: true },
  { name: "reserved10", offset: 10, type: "u16", clause: "quote header", what: "reserved", reserved: true },
  ...tail,
]);
const bodyHeadLayout = new Layout("quote body descriptor", spec, 6, [
  {
    name: "bodyType",
    offset: 0,
    type: "u16",
    clause: "version 5",
    what: "1 SGX, 2 TDX 1.0, 3 TDX 1.5, 4 extended",
  },
  { name: "bodySize", offset: 2, type: "u32", clause: "version 5", what: "bytes of the body" },
]);
const signatureLayout = new Layout("ECDSA signature data", spec, 128, [
  { name: "signature", offset: 0, type: 64, clause: "signature data", what: "R and S, over header and body" },
  {
    name: "attestationKey",
    offset: 64,
    type: 64,
    clause: "signature data",
    what: "X and Y of the public key",
  },
]);
export const quoteLayouts = { body: bodyHeadLayout, signature: signatureLayout } as const;

/** Bodies by the type that version 5 gives them. */
export const quoteBodies = {
  1: { tee: TEE_TYPE_SGX, layout: sgxReportLayout },
  2: { tee: TEE_TYPE_TDX, layout: tdBody10Layout },
  3: { tee: TEE_TYPE_TDX, layout: tdBody15Layout },
  4: { tee: TEE_TYPE_TDX, layout: tdBodyExLayout },
} as const;
export type QuoteBodyType = keyof typeof quoteBodies;

export type QuoteBody =
  | { readonly type: 1; readonly tee: "sgx"; readonly fields: SgxReportFields }
  | { readonly type: 2; readonly tee: "tdx"; readonly fields: TdBody10Fields }
  | { readonly type: 3; readonly tee: "tdx"; readonly fields: TdBody15Fields }
  | { readonly type: 4; readonly tee: "tdx"; readonly fields: TdBodyExFields };

export interface QuoteHeader {
  readonly version: 3 | 4 | 5;
  readonly attestationKeyType: number;
  readonly teeType: number;
  /** Only in version 3. */
  readonly qeSvn?: number;
  readonly pceSvn?: number;
  readonly qeVendorId: Uint8Array;
  readonly userData: Uint8Array;
}

export interface Quote extends Parsed {
  readonly header: QuoteHeader;
  readonly body: QuoteBody;
  /** The body alone: a view. */
  readonly bodyBytes: Uint8Array;
  /** What `signature` is over, header and body: a view. */
  readonly signedBytes: Uint8Array;
  /** R and S, 32 bytes each, big-endian. */
  readonly signature: Uint8Array;
  /** X and Y, 32 bytes each, big-endian. */
  readonly attestationKey: Uint8Array;
  readonly qe: QeReportCertification;
  /** What lies behind the quote: a view. */
  readonly trailing: Uint8Array;
}

const isQuoteVersion = (version: number): version is QuoteHeader["version"] =>
  version === 3 || version === 4 || version === 5;

function readHeader(bytes: Uint8Array, notes: Notes): QuoteHeader {
  const fields = quoteHeaderLayout.read(bytes);
  const { version } = fields;
  if (!isQuoteVersion(version))
    throw new MalformedError("bad-version", 0, spec, `version ${version}, not 3, 4 or 5`);
  const layout: Layout = version === 3 ? quoteHeader3Layout : quoteHeaderLayout;
  notes.map.structure("header.", layout, 0);
  notes.findings.push(...layout.findings(bytes, 0, "header."));
  if (fields.attestationKeyType !== ATTESTATION_KEY_P256) {
    throw new MalformedError(
      "bad-value",
      2,
      spec,
      `attestation key type ${fields.attestationKeyType}, not ${ATTESTATION_KEY_P256}`,
    );
  }
  const { attestationKeyType, teeType, qeVendorId, userData } = fields;
  if (teeType !== TEE_TYPE_SGX && (teeType !== TEE_TYPE_TDX || version === 3))
    throw new MalformedError("bad-value", 4, spec, `TEE type ${hex(teeType)} in version ${version}`);
  const common = { version, attestationKeyType, teeType, qeVendorId, userData };
  if (version !== 3) return common;
  const { qeSvn, pceSvn } = quoteHeader3Layout.read(bytes);
  return { ...common, qeSvn, pceSvn };
}

const isBodyType = (type: number): type is QuoteBodyType => type in quoteBodies;

function readBody(bytes: Uint8Array, at: number, type: QuoteBodyType, notes: Notes): QuoteBody {
  const layout: Layout = quoteBodies[type].layout;
  // Read first: a map of bytes that are not there helps nobody.
  const body = ((): QuoteBody => {
    switch (type) {
      case 1:
        return { type, tee: "sgx", fields: sgxReportLayout.read(bytes, at) };
      case 2:
        return { type, tee: "tdx", fields: tdBody10Layout.read(bytes, at) };
      case 3:
        return { type, tee: "tdx", fields: tdBody15Layout.read(bytes, at) };
      case 4:
        return { type, tee: "tdx", fields: tdBodyExLayout.read(bytes, at) };
      default:
        return type satisfies never;
    }
  })();
  notes.map.structure("body.", layout, at);
  notes.findings.push(...layout.findings(bytes, at, "body."));
  return body;
}

/** The type of the body, and where it begins. */
function bodyType(
  bytes: Uint8Array,
  { version, teeType }: QuoteHeader,
  notes: Notes,
): [QuoteBodyType, number] {
  const at = quoteHeaderLayout.size;
  if (version !== 5) return [teeType === TEE_TYPE_SGX ? 1 : 2, at];
  const { bodyType: type, bodySize } = bodyHeadLayout.read(bytes, at);
  notes.map.structure("", bodyHeadLayout, at);
  if (!isBodyType(type)) throw new MalformedError("bad-value", at, spec, `body type ${type}`);
  const { tee, layout } = quoteBodies[type];
  if (tee !== teeType)
    throw new MalformedError("bad-value", at, spec, `body type ${type} with TEE type ${hex(teeType)}`);
  if (bodySize !== layout.size) {
    throw new MalformedError(
      "bad-value",
      at + 2,
      spec,
      `a body of type ${type} has ${layout.size} bytes, not ${bodySize}`,
    );
  }
  return [type, at + bodyHeadLayout.size];
}

/**
 * A quote that begins `bytes`. What lies behind it is in `trailing` and in the findings: quotes come padded. Throws MalformedError:
 * `truncated`, `bad-version`, `bad-value` (TEE type, attestation key type, body type and size, nested certification), `trailing-bytes`
 * (within the signature data).
 */
export function parseQuote(bytes: Uint8Array): Quote {
  const notes: Notes = { map: new ByteMap(), findings: [] };
  const header = readHeader(bytes, notes);
  const [type, bodyAt] = bodyType(bytes, header, notes);
  const body = readBody(bytes, bodyAt, type, notes);
  const signedEnd = bodyAt + quoteBodies[type].layout.size;

  if (bytes.length - signedEnd < 4)
    throw new MalformedError("truncated", signedEnd, spec, "the length of the signature data is not there");
  const length = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(signedEnd, true);
  notes.map.field("signatureLength", signedEnd, 4, `${spec}, quote`, "bytes of signature data");
  const signatureAt = signedEnd + 4;
  if (length > bytes.length - signatureAt) {
    throw new MalformedError(
      "truncated",
      signedEnd,
      spec,
      `${length} bytes of signature data, ${bytes.length - signatureAt} left`,
    );
  }
  const end = signatureAt + length;
  const { signature, attestationKey } = signatureLayout.read(bytes, signatureAt, end);
  notes.map.structure("", signatureLayout, signatureAt);
  const qeAt = signatureAt + signatureLayout.size;
  const qe =
    header.version === 3 ? readQeReport(bytes, qeAt, end, "qe.", notes) : readQe4(bytes, qeAt, end, notes);
  notes.findings.push(...trailingFinding(bytes, end, spec));
  return {
    bytes: bytes.subarray(0, end),
    map: notes.map,
    findings: notes.findings,
    header,
    body,
    bodyBytes: bytes.subarray(bodyAt, signedEnd),
    signedBytes: bytes.subarray(0, signedEnd),
    signature,
    attestationKey,
    qe,
    trailing: bytes.subarray(end),
  };
}

/** From version 4 on the QE report is certification data of type 6. */
function readQe4(bytes: Uint8Array, at: number, end: number, notes: Notes): QeReportCertification {
  const outer = readCertificationData(bytes, at, end, "qe.", notes, false);
  if (outer.kind !== "qe-report")
    throw new MalformedError("bad-value", at, spec, `certification data of type ${outer.type}, not 6`);
  return outer.qe;
}

export interface QuoteInput {
  readonly version: 3 | 4 | 5;
  readonly header?: Omit<LayoutInput<typeof quoteHeaderLayout>, "version"> & {
    readonly qeSvn?: number;
    readonly pceSvn?: number;
  };
  /** Its size must be that of the type. In version 3 the type is 1, in version 4 1 or 2. */
  readonly body: { readonly type: QuoteBodyType; readonly bytes: Uint8Array };
  readonly signature: Uint8Array;
  readonly attestationKey: Uint8Array;
  readonly qe: QeReportInput;
  readonly trailing?: Uint8Array;
}

/** Header and body: what a quote's signature is over. */
export function buildSignedPart({
  version,
  header = {},
  body,
}: Pick<QuoteInput, "version" | "header" | "body">) {
  const { tee, layout } = quoteBodies[body.type];
  if (body.bytes.length !== layout.size)
    throw new RangeError(`a body of type ${body.type} has ${layout.size} bytes, not ${body.bytes.length}`);
  const fields = { attestationKeyType: ATTESTATION_KEY_P256, teeType: tee, ...header, version };
  const writer = new Writer(1024);
  writer.bytes(version === 3 ? quoteHeader3Layout.build(fields) : quoteHeaderLayout.build(fields));
  if (version === 5) writer.bytes(bodyHeadLayout.build({ bodyType: body.type, bodySize: body.bytes.length }));
  return writer.bytes(body.bytes).finish();
}

/** A quote of these parts. Nothing is signed here. */
export function buildQuote(input: QuoteInput): Uint8Array {
  const { version, signature, attestationKey, qe, trailing } = input;
  const certification = version === 3 ? buildQeReport(qe) : buildCertificationData({ type: 6, qe });
  const writer = new Writer(8192).bytes(buildSignedPart(input));
  writer.u32(signatureLayout.size + certification.length);
  writer.bytes(signatureLayout.build({ signature, attestationKey })).bytes(certification);
  if (trailing !== undefined) writer.bytes(trailing);
  return writer.finish();
}

/** What was read, as a builder takes it. */
export function quoteInput(quote: Quote): QuoteInput {
  const { version } = quote.header;
  const fields: LayoutValues<typeof quoteHeaderLayout> = quoteHeaderLayout.read(quote.bytes);
  const { version: _, ...header } = fields;
  const { qeSvn, pceSvn } = quoteHeader3Layout.read(quote.bytes);
  return {
    version,
    header: version === 3 ? { ...header, qeSvn, pceSvn } : header,
    body: { type: quote.body.type, bytes: quote.bodyBytes },
    signature: quote.signature,
    attestationKey: quote.attestationKey,
    qe: qeReportInput(quote.qe),
    trailing: quote.trailing,
  };
}
