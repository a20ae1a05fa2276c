import { MalformedError, toHex } from "@entresol/wire";
import { decodeBase64, encodeBase64 } from "./base64.ts";
import {
  type JsonNode,
  type JsonObject,
  type JsonString,
  jsonMember,
  jsonOf,
  jsonOptional,
  parseStrictJson,
} from "./strict-json.ts";

/*
 * Evidence of a confidential VM with a paravisor's vTPM, as attestation agents send it: JSON with the HCL report, a quote of the vTPM,
 * the values of its PCR, and the certificate or quote of the hardware.
 */

const spec = "vTPM evidence (JSON)";

export interface VtpmEvidence {
  readonly hclReport: Uint8Array;
  readonly quote:
    | {
        /** TPMS_ATTEST. */
        readonly message: Uint8Array;
        readonly signature: Uint8Array;
        /** Values of the PCR of the SHA-256 bank, 0 first: as the agent read them, worth what the quote's digest makes them. */
        readonly pcrs: readonly Uint8Array[];
      }
    | undefined;
  /** VCEK of an SNP machine: DER or PEM. */
  readonly vcek: Uint8Array | undefined;
  /** Quote of a TDX machine. */
  readonly tdQuote: Uint8Array | undefined;
}

/** Evidence is tens of kilobytes. */
const limits = { depth: 8, nodes: 1000 };
const MAXIMUM_PCRS = 24;

const MINUS = 0x2d;
const UNDERSCORE = 0x5f;
const PAD = 0x3d;

/** Agents write either alphabet, either of them with padding or without. */
function base64(bytes: Uint8Array, node: JsonString | undefined): Uint8Array | undefined {
  if (node === undefined) return undefined;
  const from = node.offset + 1;
  let end = node.end - 1;
  if (end - from !== node.value.length)
    throw new MalformedError("bad-value", node.offset, spec, "an escape in encoded bytes");
  const text = bytes.subarray(from, end);
  const padded = text.length % 4 === 0;
  if (padded && !text.includes(MINUS) && !text.includes(UNDERSCORE))
    return decodeBase64(bytes, "base64", spec, from, end);
  for (let pads = 0; padded && pads < 2 && bytes[end - 1] === PAD; pads++) end--;
  return decodeBase64(bytes, "base64url", spec, from, end);
}

function hex(node: JsonNode): Uint8Array {
  const { value } = jsonOf(node, "string", spec);
  if (!/^(?:[\da-f]{2})*$/i.test(value))
    throw new MalformedError("bad-value", node.offset, spec, "not hexadecimal");
  return Uint8Array.from({ length: value.length / 2 }, (_, i) =>
    Number.parseInt(value.slice(2 * i, 2 * i + 2), 16),
  );
}

function readQuote(object: JsonObject | undefined): VtpmEvidence["quote"] {
  if (object === undefined) return undefined;
  const pcrs = jsonMember(object, "pcrs", "array", spec);
  if (pcrs.items.length > MAXIMUM_PCRS)
    throw new MalformedError("bad-value", pcrs.offset, spec, `${pcrs.items.length} PCR`);
  return {
    message: hex(jsonMember(object, "message", "string", spec)),
    signature: hex(jsonMember(object, "signature", "string", spec)),
    pcrs: pcrs.items.map(hex),
  };
}

/**
 * The evidence in a JSON document, by itself or as its member `evidence`. Throws MalformedError as strict JSON does, and `bad-value`
 * for a member that is missing, of another kind or not encoded as it should be. What the parts hold is for their own parsers.
 */
export function parseVtpmEvidence(bytes: Uint8Array): VtpmEvidence {
  const whole = jsonOf(parseStrictJson(bytes, 0, bytes.length, limits), "object", spec);
  const evidence = jsonOptional(whole, "evidence", "object", spec) ?? whole;
  return {
    hclReport: base64(bytes, jsonMember(evidence, "hcl_report", "string", spec))!,
    quote: readQuote(jsonOptional(evidence, "tpm_quote", "object", spec)),
    vcek: vcek(bytes, jsonOptional(evidence, "vcek", "string", spec)),
    tdQuote: base64(bytes, jsonOptional(evidence, "td_quote", "string", spec)),
  };
}

/** PEM has line ends, which JSON escapes; DER is in base64. */
function vcek(bytes: Uint8Array, node: JsonString | undefined): Uint8Array | undefined {
  return node?.value.startsWith("-----BEGIN ") === true
    ? new TextEncoder().encode(node.value)
    : base64(bytes, node);
}

/** A document of these parts, as an agent sends it. */
export function buildVtpmEvidence({
  hclReport,
  quote,
  vcek: certificate,
  tdQuote,
}: VtpmEvidence): Uint8Array {
  const text = JSON.stringify({
    version: 1,
    hcl_report: encodeBase64(hclReport, "base64url"),
    ...(quote === undefined
      ? {}
      : {
          tpm_quote: {
            signature: toHex(quote.signature),
            message: toHex(quote.message),
            pcrs: quote.pcrs.map(toHex),
          },
        }),
    ...(certificate === undefined ? {} : { vcek: encodeBase64(certificate, "base64url") }),
    ...(tdQuote === undefined ? {} : { td_quote: encodeBase64(tdQuote, "base64url") }),
  });
  return new TextEncoder().encode(text);
}
