import { Alg, noScheme, noSymmetric, type Public, St, TPM_GENERATED } from "@entresol/tpm-types";
import { Writer } from "@entresol/wire";
import { buildCertificateTable, parseCertificateTable } from "../certificate-table.ts";
import type { QeReportInput } from "../certification-data.ts";
import {
  buildHclClaims,
  HCL_AK,
  HCL_EK,
  type HclClaims,
  type HclClaimsInput,
  parseHclClaims,
} from "../hcl-claims.ts";
import {
  buildHclReport,
  HCL_HARDWARE_REPORT_SIZE,
  hclCapabilityLayout,
  hclHeaderLayout,
  hclRequestLayout,
  parseHclReport,
} from "../hcl-report.ts";
import { encodePem, parsePem } from "../pem.ts";
import { buildQuote, parseQuote, type QuoteBodyType, quoteBodies, quoteInput } from "../quote.ts";
import { sgxReportLayout } from "../sgx-report.ts";
import { buildSnpReport, parseSnpReport, snpReportLayout } from "../snp-report.ts";
import { buildSnpTcb } from "../snp-tcb.ts";
import { buildSvsmManifest, parseSvsmManifest } from "../svsm-attestation.ts";
import {
  buildTdReport,
  parseTdReport,
  TD_REPORT_SIZE,
  tdBody10Layout,
  tdBody15Layout,
  tdBodyExLayout,
} from "../td-report.ts";
import {
  buildTpmAttest,
  buildTpmPublic,
  buildTpmSignature,
  parseTpmPublic,
  parseTpmQuote,
  parseTpmSignature,
} from "../tpm-evidence.ts";
import { buildVtpmEvidence, parseVtpmEvidence } from "../vtpm-evidence-json.ts";

/* Well-formed evidence of every kind, made by the builders: what tests and campaigns start from. No signature in it is one. */

/** Bytes that tell their place: `first`, `first` + 1, and so on. */
export const counted = (length: number, first: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => first + i);

const tcb = { bootloader: 4, tee: 0, snp: 24, microcode: 0xdb };

/** A report of version 5 of a Turin. */
export const sampleSnpFields = {
  version: 5,
  guestSvn: 7,
  policy: 0x3_0000n,
  familyId: counted(16, 0x10),
  imageId: counted(16, 0x20),
  signatureAlgorithm: 1,
  currentTcb: buildSnpTcb({ fmc: 1, ...tcb }),
  platformInfo: 0x25n,
  flags: 0,
  reportData: counted(64, 0x40),
  measurement: counted(48, 0x80),
  hostData: counted(32, 0xc0),
  reportId: counted(32, 1),
  reportIdMa: new Uint8Array(32).fill(0xff),
  reportedTcb: buildSnpTcb({ fmc: 1, ...tcb }),
  cpuidFamily: 0x1a,
  cpuidModel: 2,
  cpuidStepping: 1,
  chipId: counted(64, 9),
  committedTcb: buildSnpTcb({ fmc: 1, ...tcb }),
  currentBuild: 39,
  currentMinor: 58,
  currentMajor: 1,
  committedBuild: 39,
  committedMinor: 58,
  committedMajor: 1,
  launchTcb: buildSnpTcb({ fmc: 1, ...tcb }),
  launchMitigationVector: 11n,
  currentMitigationVector: 11n,
  signatureR: counted(48, 3),
  signatureS: counted(48, 5),
} as const;

const td = {
  teeTcbSvn: counted(16, 5),
  mrSeam: counted(48, 0x20),
  tdAttributes: 0x1000_0000n,
  xfam: 0xe7n,
  mrTd: counted(48, 0x30),
  rtmr0: counted(48, 0x40),
  rtmr3: counted(48, 0x43),
} as const;

export const sampleSgxFields = {
  cpuSvn: counted(16, 1),
  attributeFlags: 0x15n,
  attributeXfrm: 0xe7n,
  mrEnclave: counted(32, 0x50),
  mrSigner: counted(32, 0x60),
  isvProdId: 2,
  isvSvn: 8,
  reportData: counted(64, 0x70),
} as const;

const bodies: Readonly<Record<QuoteBodyType, Uint8Array>> = {
  1: sgxReportLayout.build(sampleSgxFields),
  2: tdBody10Layout.build({ ...td, reportData: counted(64, 0x70) }),
  3: tdBody15Layout.build({ ...td, reportData: counted(64, 0x70), teeTcbSvn2: counted(16, 6) }),
  4: tdBodyExLayout.build({ ...td, reportData: counted(64, 0x70), tdId: counted(32, 8), vmId: 1 }),
};

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
export const samplePem = text(
  encodePem("CERTIFICATE", counted(100, 0)) + encodePem("CERTIFICATE", counted(70, 9)),
);

export const sampleQe: QeReportInput = {
  report: bodies[1],
  reportSignature: counted(64, 0x90),
  authData: counted(32, 0),
  certification: { type: 5, data: samplePem },
};

/** A quote with `qe` for its quoting enclave. */
export function sampleQuote(
  version: 3 | 4 | 5,
  type: QuoteBodyType,
  qe: QeReportInput = sampleQe,
): Uint8Array {
  return buildQuote({
    version,
    header: {
      teeType: quoteBodies[type].tee,
      qeVendorId: Uint8Array.from([
        0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
      ]),
      userData: counted(20, 0),
      ...(version === 3 ? { qeSvn: 8, pceSvn: 14 } : {}),
    },
    body: { type, bytes: bodies[type] },
    signature: counted(64, 0xa0),
    attestationKey: counted(64, 0xb0),
    qe,
  });
}

export const sampleTdReport = buildTdReport({
  reportMac: { type: 0x81, version: 1, reportData: counted(64, 0x70), mac: counted(32, 0xe0) },
  teeTcbInfo: { valid: 0x301ffn, teeTcbSvn: counted(16, 5) },
  tdInfo: { tdAttributes: 0x1000_0000n, xfam: 0xe7n, mrTd: counted(48, 0x30) },
});

export const sampleClaims = buildHclClaims({
  keys: [
    { kid: HCL_AK, keyOps: ["sign"], n: counted(256, 0x81), e: Uint8Array.of(1, 0, 1) },
    { kid: HCL_EK, keyOps: ["encrypt"], n: counted(256, 0x91), e: Uint8Array.of(1, 0, 1) },
  ],
  vmConfiguration: {
    "console-enabled": true,
    "secure-boot": true,
    vmUniqueId: "911B0EF8-9DBA-48B0-B275-4E4DF2D39252",
  },
  userData: counted(64, 0),
});

export const samplePublic: Public = {
  type: Alg.RSA,
  nameAlg: Alg.SHA256,
  objectAttributes: 0x0005_0072,
  authPolicy: new Uint8Array(0),
  parameters: {
    symmetric: noSymmetric,
    scheme: { ...noScheme, scheme: Alg.RSASSA, hash: Alg.SHA256 },
    keyBits: 2048,
    exponent: 0,
  },
  unique: counted(256, 0x81),
};

export const sampleTpmQuote = buildTpmAttest({
  magic: TPM_GENERATED,
  type: St.ATTEST_QUOTE,
  qualifiedSigner: Uint8Array.of(0, 11, ...counted(32, 0x20)),
  extraData: counted(32, 0x40),
  clockInfo: { clock: 123_456n, resetCount: 3, restartCount: 1, safe: true },
  firmwareVersion: 0x2017_0619_0016_3636n,
  attested: {
    pcrSelect: [
      { hash: Alg.SHA256, pcrSelect: Uint8Array.of(0x91, 0x40, 0x80) },
      { hash: Alg.SHA1, pcrSelect: Uint8Array.of(1, 0, 0) },
    ],
    pcrDigest: counted(32, 0x60),
  },
});

export const sampleTpmSignature = buildTpmSignature({
  sigAlg: Alg.ECDSA,
  hash: Alg.SHA256,
  r: counted(32, 1),
  s: counted(32, 2),
});

export const sampleCertificateTable = buildCertificateTable(
  [
    { guid: "63da758d-e664-4564-adc5-f4b93be8accd", data: counted(80, 0x30) },
    { guid: "4ab7b379-bbac-4fe4-a02f-05aef327c782", guidOrder: "uefi", data: counted(90, 0x30) },
    { guid: "12345678-9abc-def0-1234-56789abcdef0", data: counted(10, 0x30) },
  ],
  512,
);

export const sampleSvsmManifest = buildSvsmManifest([
  { guid: "c476f1eb-0123-45a5-9641-b4e7dde5bfe3", data: buildTpmPublic(samplePublic, "tpmt") },
  { guid: "a4453a59-9e1b-4787-a033-1986d6adbe55", data: counted(16, 0) },
]);

export interface Sample {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Parses, and gives the bytes that builders make of the value: those that were parsed. */
  readonly rebuild: (bytes: Uint8Array) => Uint8Array;
}

const snp = (fields: Parameters<typeof buildSnpReport>[0]) =>
  buildSnpReport({ ...sampleSnpFields, ...fields });

function rebuildSnp(bytes: Uint8Array): Uint8Array {
  const { fields } = parseSnpReport(bytes);
  return joined(buildSnpReport(fields), bytes.subarray(snpReportLayout.size));
}

function rebuildCertificateTable(bytes: Uint8Array): Uint8Array {
  return buildCertificateTable(parseCertificateTable(bytes).entries, bytes.length);
}

function rebuildHcl(bytes: Uint8Array): Uint8Array {
  const { header, request, hardware, hash, capabilities, claims } = parseHclReport(bytes);
  // Not by its length alone: what stands between a TDREPORT and the request data is kept too.
  const hardwareReport = bytes.subarray(
    hclHeaderLayout.size,
    hclHeaderLayout.size + HCL_HARDWARE_REPORT_SIZE,
  );
  const bitmap = capabilities === undefined ? {} : { capabilities: capabilityWord(bytes) };
  const report = buildHclReport({
    header,
    kind: hardware.kind,
    hardwareReport,
    hash,
    requestVersion: request.version,
    ...bitmap,
    claims: claims.bytes,
  });
  return joined(report, bytes.subarray(report.length));
}

function capabilityWord(bytes: Uint8Array): number {
  const at = hclHeaderLayout.size + HCL_HARDWARE_REPORT_SIZE + hclRequestLayout.size;
  return hclCapabilityLayout.read(bytes, at).capabilities;
}

const joined = (first: Uint8Array, second: Uint8Array): Uint8Array =>
  new Writer(first.length + second.length).bytes(first).bytes(second).finish();

function rebuildTpmPublic(bytes: Uint8Array): Uint8Array {
  const { publicArea, form } = parseTpmPublic(bytes);
  return buildTpmPublic(publicArea, form);
}

function rebuildTpmSignature(bytes: Uint8Array): Uint8Array {
  const parsed = parseTpmSignature(bytes);
  return parsed.form === "rsa" ? parsed.signature : buildTpmSignature(parsed.signature);
}

/** Evidence of every kind. */
export function sampleEvidence(): Sample[] {
  const milan = { cpuidFamily: 0x19, cpuidModel: 1 };
  const v2 = {
    version: 2,
    cpuidFamily: 0,
    cpuidModel: 0,
    cpuidStepping: 0,
    launchMitigationVector: 0n,
    currentMitigationVector: 0n,
  };
  const v3 = { ...milan, version: 3, launchMitigationVector: 0n, currentMitigationVector: 0n };
  const quote = (name: string, bytes: Uint8Array): Sample => ({
    name,
    bytes,
    rebuild: (input) => buildQuote(quoteInput(parseQuote(input))),
  });
  const qe = (certification: QeReportInput["certification"]): QeReportInput => ({
    ...sampleQe,
    certification,
  });
  return [
    ...Object.entries({ 2: v2, 3: v3, 5: {}, "5 by a VLEK": { ...milan, flags: 4 } }).map(
      ([version, fields]) => ({
        name: `SNP report ${version}`,
        bytes: snp(fields),
        rebuild: rebuildSnp,
      }),
    ),
    { name: "certificate table", bytes: sampleCertificateTable, rebuild: rebuildCertificateTable },
    quote("SGX quote 3", sampleQuote(3, 1)),
    quote("TDX quote 4", sampleQuote(4, 2)),
    quote("SGX quote 4", sampleQuote(4, 1)),
    ...([1, 2, 3, 4] as const).map((type) => quote(`quote 5 of body type ${type}`, sampleQuote(5, type))),
    quote("SGX quote 3 with PPID", sampleQuote(3, 1, qe({ type: 3, data: counted(404, 1) }))),
    ...([1, 2, 4, 7, 9] as const).map((type) =>
      quote(
        `quote 4 with certification data ${type}`,
        sampleQuote(4, 2, qe({ type, data: counted(type === 1 ? 36 : 276, 1) })),
      ),
    ),
    {
      name: "TDREPORT",
      bytes: sampleTdReport,
      rebuild: (bytes) => joined(buildTdReport(parseTdReport(bytes).fields), bytes.subarray(TD_REPORT_SIZE)),
    },
    {
      name: "HCL report of SNP",
      bytes: buildHclReport({
        kind: "snp",
        hardwareReport: snp(milan),
        hash: "SHA-256",
        claims: sampleClaims,
        length: 2600,
      }),
      rebuild: rebuildHcl,
    },
    {
      name: "HCL report of TDX",
      bytes: buildHclReport({
        kind: "tdx",
        hardwareReport: sampleTdReport,
        hash: "SHA-512",
        capabilities: 0x1f,
        claims: sampleClaims,
      }),
      rebuild: rebuildHcl,
    },
    {
      name: "SVSM manifest",
      bytes: sampleSvsmManifest,
      rebuild: (bytes) => buildSvsmManifest(parseSvsmManifest(bytes).services),
    },
    {
      name: "TPM quote",
      bytes: sampleTpmQuote,
      rebuild: (bytes) => buildTpmAttest(parseTpmQuote(bytes).attest),
    },
    { name: "TPM public", bytes: buildTpmPublic(samplePublic, "tpm2b"), rebuild: rebuildTpmPublic },
    { name: "TPM signature", bytes: sampleTpmSignature, rebuild: rebuildTpmSignature },
    {
      name: "HCL claims",
      bytes: sampleClaims,
      rebuild: (bytes) => buildHclClaims(claimsInput(parseHclClaims(bytes))),
    },
    {
      name: "vTPM evidence in JSON",
      bytes: buildVtpmEvidence({
        hclReport: counted(100, 0),
        quote: {
          message: sampleTpmQuote,
          signature: counted(256, 7),
          pcrs: [counted(32, 0), counted(32, 1)],
        },
        vcek: counted(101, 0x30),
        tdQuote: undefined,
      }),
      rebuild: (bytes) => buildVtpmEvidence(parseVtpmEvidence(bytes)),
    },
    { name: "PEM", bytes: samplePem, rebuild: rebuildPem },
  ];
}

const claimsInput = ({ keys, vmConfiguration, userData }: HclClaims): HclClaimsInput => ({
  keys: [...keys.values()],
  vmConfiguration,
  ...(userData === undefined ? {} : { userData }),
});

const rebuildPem = (bytes: Uint8Array): Uint8Array =>
  text(
    parsePem(bytes)
      .map(({ label, data }) => encodePem(label, data))
      .join(""),
  );
