import type { CheckTable } from "../check.ts";

const QUOTE = "Intel TDX DCAP Quoting Library API, A.3";
const PCK = "Intel SGX PCK Certificate and CRL Profile";
const PCS = "Intel SGX/TDX PCS API v4";
const DCAP = "Intel SGX/TDX DCAP, quote verification";

/** What is checked of a TD quote or an SGX quote, in this order. Those of the TDX module say nothing about SGX. */
export const quoteChecks = {
  "quote.form": { title: "The quote is whole and of a version that is known", spec: QUOTE },
  "quote.reserved": { title: "Reserved bytes of the quote are zero", spec: QUOTE },
  "quote.length": { title: "Nothing but zeros follows the quote", spec: QUOTE },
  "quote.vendor": { title: "The quoting enclave is Intel's, by its vendor id", spec: `${QUOTE}, header` },
  "pck.chain": {
    title: "The platform's PCK certificate leads to a trusted Intel root key by signatures",
    spec: `${PCK}, 1; RFC 5280, 6.1`,
  },
  "pck.chain.rules": {
    title: "Every certificate of the PCK chain is valid at the time, and may do what it does",
    spec: "RFC 5280, 6.1.3 and 6.1.4",
  },
  "pck.extensions": {
    title: "The PCK certificate has its SGX extensions, once and well formed, and they agree with each other",
    spec: `${PCK}, 1.3.5`,
  },
  "pck.revocation": {
    title:
      "No certificate of the PCK chain is on its issuer's revocation list, and the lists are authentic and current",
    spec: `${PCK}, 2; RFC 5280, 6.3.3`,
  },
  "collateral.signer": {
    title:
      "TCB info and QE identity are signed by Intel's TCB signing key, under a trusted root, valid and not revoked",
    spec: `${PCS}, TCB-Info-Issuer-Chain`,
  },
  "tcb-info.signature": {
    title: "TCB info is signed, in the very bytes that it has",
    spec: `${PCS}, TCB info`,
  },
  "tcb-info.form": {
    title: "TCB info is of the kind and version that the quote needs",
    spec: `${PCS}, TCB info`,
  },
  "tcb-info.window": { title: "TCB info is current at the time", spec: `${PCS}, issueDate, nextUpdate` },
  "tcb-info.platform": {
    title: "TCB info is for the platform's FMSPC and PCEID",
    spec: `${PCS}, fmspc, pceId`,
  },
  "qe-identity.signature": {
    title: "The QE identity is signed, in the very bytes that it has",
    spec: `${PCS}, enclave identity`,
  },
  "qe-identity.form": {
    title: "The QE identity is of the kind and version that the quote needs",
    spec: `${PCS}, enclave identity`,
  },
  "qe-identity.window": {
    title: "The QE identity is current at the time",
    spec: `${PCS}, issueDate, nextUpdate`,
  },
  "collateral.evaluation": {
    title: "TCB info and QE identity have the evaluation number that was asked for, or a later one",
    spec: `${PCS}, tcbEvaluationDataNumber`,
  },
  "qe.signature": {
    title: "The quoting enclave's report is signed by the platform's PCK",
    spec: `${DCAP}, QE report`,
  },
  "qe.binding": {
    title: "The quoting enclave's report names the attestation key, and nothing else",
    spec: `${DCAP}, QE report data`,
  },
  "qe.identity": {
    title: "The quoting enclave is the one that the QE identity describes",
    spec: `${DCAP}, QE identity`,
  },
  "quote.signature": { title: "The quote is signed by the attestation key", spec: `${QUOTE}, signature` },
  "tdx.module": {
    title: "The TDX module is the one that TCB info describes",
    spec: `${PCS}, tdxModule, tdxModuleIdentities`,
  },
  "tdx.attributes": {
    title: "No reserved attribute of the TD is set",
    spec: "Intel TDX module ABI, ATTRIBUTES",
  },
  "tcb.level": {
    title: "A published TCB level fits platform, TDX module and quoting enclave, and none of them is revoked",
    spec: `${PCS}, tcbLevels`,
  },
} as const satisfies CheckTable;

export type QuoteCheckId = keyof typeof quoteChecks;
