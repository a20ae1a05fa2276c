import { parsePem } from "@entresol/evidence";
import type { Window } from "../outcome.ts";
import { parseQeIdentity, parseTcbInfo } from "../tdx/collateral.ts";
import { parseCertificate } from "../x509/certificate.ts";
import { parseCrl } from "../x509/crl.ts";

/** What collateral is made of: roles of a submission that come from AMD or Intel and not from the machine. */
export type CollateralRole =
  | "certificate"
  | "crl"
  | "tcb-info"
  | "qe-identity"
  | "tcb-signers"
  | "root-crl"
  | "pck-crl";

export const collateralRoles: readonly CollateralRole[] = [
  "certificate",
  "crl",
  "tcb-info",
  "qe-identity",
  "tcb-signers",
  "root-crl",
  "pck-crl",
];

/** What all the windows have in common; undefined for none. `to` may lie before `from`: then there is no such time. */
export function intersection(windows: readonly Window[]): Window | undefined {
  const [first, ...others] = windows;
  return first === undefined
    ? undefined
    : others.reduce((a, b) => ({ from: Math.max(a.from, b.from), to: Math.min(a.to, b.to) }), first);
}

const ofCertificate = (der: Uint8Array): Window => {
  const { notBefore, notAfter } = parseCertificate(der);
  return { from: notBefore, to: notAfter };
};

/** When a document is valid, as it says itself. Throws `MalformedError` when it is not what its role says. */
export function windowOf(role: CollateralRole, data: Uint8Array): Window | undefined {
  switch (role) {
    case "certificate":
      return ofCertificate(data);
    case "tcb-signers":
      return intersection(
        parsePem(data)
          .filter(({ label }) => label === "CERTIFICATE")
          .map((block) => ofCertificate(block.data)),
      );
    case "crl":
    case "root-crl":
    case "pck-crl": {
      const { thisUpdate, nextUpdate } = parseCrl(data);
      return nextUpdate === undefined ? undefined : { from: thisUpdate, to: nextUpdate };
    }
    case "tcb-info":
    case "qe-identity": {
      const { issueDate, nextUpdate } = role === "tcb-info" ? parseTcbInfo(data) : parseQeIdentity(data);
      return { from: issueDate, to: nextUpdate };
    }
    default:
      return role satisfies never;
  }
}
