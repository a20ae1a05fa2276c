import { toHex } from "@entresol/wire";
import type { ParavisorClaims } from "../hcl/verify.ts";
import type { Verified } from "../outcome.ts";
import type { SnpClaims } from "../snp/evidence.ts";
import type { SvsmClaims } from "../svsm/verify.ts";
import type { QuoteClaims } from "../tdx/evidence.ts";
import type { TpmClaims } from "../tpm/quote.ts";

/** A claim of a token: text (hexadecimal for bytes, "0x…" for words of bits), a whole number, or a flag. */
export type AttesterClaims = Readonly<Record<string, string | number | boolean>>;

const word = (value: bigint): string => `0x${value.toString(16)}`;

function snpClaims({ report, line, cspId }: SnpClaims): AttesterClaims {
  const { fields } = report;
  return {
    ...(line !== undefined && { product: line }),
    ...(cspId !== undefined && { cspId }),
    chipId: toHex(fields.chipId),
    measurement: toHex(fields.measurement),
    hostData: toHex(fields.hostData),
    reportData: toHex(fields.reportData),
    familyId: toHex(fields.familyId),
    imageId: toHex(fields.imageId),
    idKeyDigest: toHex(fields.idKeyDigest),
    authorKeyDigest: toHex(fields.authorKeyDigest),
    guestSvn: fields.guestSvn,
    vmpl: fields.vmpl,
    policy: word(fields.policy),
    platformInfo: word(fields.platformInfo),
    currentTcb: toHex(fields.currentTcb),
    reportedTcb: toHex(fields.reportedTcb),
    committedTcb: toHex(fields.committedTcb),
    launchTcb: toHex(fields.launchTcb),
  };
}

function quoteClaims({ quote, pck }: QuoteClaims): AttesterClaims {
  const { body } = quote;
  const platform = pck === undefined ? {} : { fmspc: toHex(pck.fmspc) };
  if (body.tee === "sgx") {
    const { mrEnclave, mrSigner, isvProdId, isvSvn, reportData, attributeFlags } = body.fields;
    return {
      ...platform,
      mrEnclave: toHex(mrEnclave),
      mrSigner: toHex(mrSigner),
      isvProdId,
      isvSvn,
      reportData: toHex(reportData),
      attributes: word(attributeFlags),
    };
  }
  const { fields } = body;
  return {
    ...platform,
    mrTd: toHex(fields.mrTd),
    rtmr0: toHex(fields.rtmr0),
    rtmr1: toHex(fields.rtmr1),
    rtmr2: toHex(fields.rtmr2),
    rtmr3: toHex(fields.rtmr3),
    mrConfigId: toHex(fields.mrConfigId),
    mrOwner: toHex(fields.mrOwner),
    mrOwnerConfig: toHex(fields.mrOwnerConfig),
    mrSeam: toHex(fields.mrSeam),
    ...(body.type === 2 ? {} : { mrServiceTd: toHex(body.fields.mrServiceTd) }),
    reportData: toHex(fields.reportData),
    tdAttributes: word(fields.tdAttributes),
    xfam: word(fields.xfam),
    teeTcbSvn: toHex(fields.teeTcbSvn),
  };
}

/** What a TPM signed: its registers, as far as their values are known, and what the asker sent. */
function tpmClaims({ quote, pcrs }: TpmClaims): AttesterClaims {
  return {
    tpmNonce: toHex(quote.nonce),
    ...Object.fromEntries(
      (pcrs ?? []).map(({ bank, index, value }) => [`pcr.${bank}.${index}`, toHex(value)]),
    ),
  };
}

function paravisorClaims({ hardware, tpm }: ParavisorClaims): AttesterClaims {
  const said =
    hardware?.kind === "snp" ? snpClaims(hardware.claims) : hardware && quoteClaims(hardware.claims);
  return { ...said, ...(tpm && tpmClaims(tpm)) };
}

/** What verified evidence says of itself; of evidence that carries a hardware report, what that report and the TPM say. */
export function attesterClaims({ kind, claims }: Pick<Verified, "kind" | "claims">): AttesterClaims {
  switch (kind) {
    case "snp":
      return snpClaims(claims as SnpClaims);
    case "tdx":
    case "sgx":
      return quoteClaims(claims as QuoteClaims);
    case "hcl-snp":
    case "hcl-tdx":
      return paravisorClaims(claims as ParavisorClaims);
    case "svsm-snp": {
      const { snp, tpm } = claims as SvsmClaims;
      return { ...snpClaims(snp), ...(tpm && tpmClaims(tpm)) };
    }
    default:
      return kind satisfies never;
  }
}
