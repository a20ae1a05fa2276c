import {
  INTEL_QE_VENDOR_ID,
  type Quote,
  type SgxReportFields,
  sgxAttributesOffset,
} from "@entresol/evidence";
import { toHex } from "@entresol/wire";
import type { Checklist, Place } from "../check.ts";
import { hexOf } from "../crypto/fingerprint.ts";
import { sameBytes } from "../x509/chain.ts";
import type { QuoteCheckId } from "./checks.ts";
import type { QeIdentity, TcbInfo } from "./collateral.ts";
import { moduleIdentityOf, moduleName } from "./tcb-level.ts";

/* What a quote says of itself, of its quoting enclave and of the TDX module, against what they must be. No key comes into it. */

/** Bytes of the quote. */
export const place = (offset: number, length: number): Place => ({ input: "quote", offset, length });
/** Of a view of the quote's bytes. */
export const placeOf = ({ bytes }: Quote, { byteOffset, length }: Uint8Array): Place =>
  place(byteOffset - bytes.byteOffset, length);

const RESERVED_ATTRIBUTES = /tdAttributes$/;

const isDebug = ({ attributeFlags }: SgxReportFields): boolean => (attributeFlags & 2n) !== 0n;

/** What the quote looks like, before any key comes into it. */
export function checkForm(
  checks: Checklist<QuoteCheckId>,
  { findings, header, bytes, trailing, body }: Quote,
): void {
  const reserved = findings.filter(({ kind }) => kind === "reserved-not-zero");
  for (const { path, detail, offset, length } of reserved)
    checks.fail("quote.reserved", `${path}: ${detail}`, place(offset, length));
  if (reserved.length === 0) checks.pass("quote.reserved", "all zero");
  const behind = findings.find(({ kind }) => kind === "trailing-bytes");
  if (behind !== undefined) checks.fail("quote.length", behind.detail, place(behind.offset, behind.length));
  else
    checks.pass(
      "quote.length",
      trailing.length === 0 ? `${bytes.length} bytes` : `${trailing.length} zero bytes of padding`,
    );
  const vendor = hexOf(header.qeVendorId);
  checks.decide("quote.vendor", vendor === INTEL_QE_VENDOR_ID, vendor, place(12, 16));
  if (body.tee !== "tdx") return;
  const unknown = findings.filter(
    ({ kind, path }) => kind === "unknown-bits" && RESERVED_ATTRIBUTES.test(path),
  );
  for (const { detail, offset, length } of unknown)
    checks.fail("tdx.attributes", detail, place(offset, length));
  if (unknown.length === 0) checks.pass("tdx.attributes", `0x${body.fields.tdAttributes.toString(16)}`);
}

/** The quoting enclave against the identity that Intel publishes. */
export function checkQeIdentity(checks: Checklist<QuoteCheckId>, { qe }: Quote, identity: QeIdentity): void {
  const { report, reportBytes } = qe;
  const wrong: string[] = [];
  const masked = (name: string, value: Uint8Array, mask: Uint8Array, wanted: Uint8Array): void => {
    if (
      !value.every(
        (byte, i) => (byte & (mask[i] as number)) === ((wanted[i] as number) & (mask[i] as number)),
      )
    )
      wrong.push(`${name} ${toHex(value)}, ${toHex(wanted)} under the mask ${toHex(mask)} is right`);
  };
  masked("MISCSELECT", reportBytes.subarray(16, 20), identity.miscSelectMask, identity.miscSelect);
  masked(
    "ATTRIBUTES",
    reportBytes.subarray(sgxAttributesOffset, sgxAttributesOffset + 16),
    identity.attributesMask,
    identity.attributes,
  );
  if (!sameBytes(report.mrSigner, identity.mrSigner))
    wrong.push(`MRSIGNER ${toHex(report.mrSigner)}, ${toHex(identity.mrSigner)} is right`);
  if (report.isvProdId !== identity.isvProdId)
    wrong.push(`ISVPRODID ${report.isvProdId}, ${identity.isvProdId} is right`);
  if (isDebug(report)) wrong.push("a debugger may read the quoting enclave");
  checks.decide(
    "qe.identity",
    wrong.length === 0,
    wrong.length === 0 ? `${identity.id}, ISVSVN ${report.isvSvn}` : wrong.join("; "),
  );
}

/** The TDX module's signer and attributes, against its identity. */
export function checkModule(checks: Checklist<QuoteCheckId>, quote: Quote, info: TcbInfo | undefined): void {
  const { body } = quote;
  if (body.tee !== "tdx" || info === undefined) return;
  const { teeTcbSvn, mrSignerSeam, seamAttributes } = body.fields;
  const name =
    (teeTcbSvn[1] as number) > 0 ? moduleName(teeTcbSvn[1] as number) : "the module without a version";
  const identity = moduleIdentityOf(info, teeTcbSvn);
  const where = placeOf(quote, mrSignerSeam);
  if (identity === undefined) {
    checks.fail("tdx.module", `TCB info has no identity of ${name}`, where);
    return;
  }
  const wrong: string[] = [];
  if (!sameBytes(mrSignerSeam, identity.mrSigner))
    wrong.push(`MRSIGNERSEAM ${toHex(mrSignerSeam)}, ${toHex(identity.mrSigner)} is right`);
  if (seamAttributes !== 0n) wrong.push(`SEAMATTRIBUTES 0x${seamAttributes.toString(16)}, 0 is right`);
  const attributes = Uint8Array.from({ length: 8 }, (_, i) =>
    Number((seamAttributes >> BigInt(8 * i)) & 0xffn),
  );
  if (
    !attributes.every(
      (byte, i) =>
        (byte & (identity.attributesMask[i] as number)) ===
        ((identity.attributes[i] as number) & (identity.attributesMask[i] as number)),
    )
  )
    wrong.push(
      `SEAMATTRIBUTES are not ${toHex(identity.attributes)} under the mask ${toHex(identity.attributesMask)}`,
    );
  checks.decide(
    "tdx.module",
    wrong.length === 0,
    wrong.length === 0 ? `${name}, SVN ${teeTcbSvn[0]}` : wrong.join("; "),
    where,
  );
}
