import { createHash, sign } from "node:crypto";
import {
  buildQuote,
  buildSignedPart,
  type CertificationInput,
  encodePem,
  INTEL_QE_VENDOR_ID,
  type LayoutInput,
  type QuoteBodyType,
  type QuoteInput,
  quoteBodies,
  sgxReportLayout,
  type tdBodyExLayout,
} from "@entresol/evidence";
import type { QuoteCollateral, QuoteEvidence } from "../tdx/evidence.ts";
import { anchorOf, type TrustAnchor } from "../x509/anchor.ts";
import { ExtensionId, KeyUsage } from "../x509/certificate.ts";
import { boolean, der, identifier, integer, octets, sequence } from "./der-writer.ts";
import {
  basicConstraints,
  type CertificateInput,
  type CrlInput,
  certificate,
  crl,
  type ExtensionInput,
  type KeyPair,
  keyPair,
  keyUsage,
} from "./pki.ts";

/* A platform of Intel's with its keys, its authorities, its collateral and its quotes, for tests: everything can be made otherwise. */

const ROOT = "1.2.840.113741.1.13.1";
/** Evidence of `platform()` is good at this time. */
export const platformTime = "2026-06-01T00:00:00Z";

/** The SGX extensions of a PCK certificate, as a tree of pairs. */
export interface SgxExtensions {
  /** 16 of them. */
  components: number[];
  pceSvn: number;
  cpuSvn: Uint8Array;
  pceId: Uint8Array;
  fmspc: Uint8Array;
  ppid: Uint8Array;
  sgxType: number;
  platformInstanceId?: Uint8Array;
  configuration?: { dynamic: boolean; cachedKeys: boolean; smt: boolean };
}

const ENUMERATED = 0x0a;
const pair = (id: string, value: Uint8Array): Uint8Array => sequence(identifier(id), value);

export const goodSgx = (): SgxExtensions => ({
  components: [3, 3, 2, 2, 4, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0],
  pceSvn: 11,
  cpuSvn: Uint8Array.of(3, 3, 2, 2, 4, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0),
  pceId: new Uint8Array(2),
  fmspc: Uint8Array.of(0x00, 0xa0, 0xb0, 0xc0, 0xd0, 0xe0),
  ppid: new Uint8Array(16).fill(0x11),
  sgxType: 1,
  platformInstanceId: new Uint8Array(16).fill(0x22),
  configuration: { dynamic: true, cachedKeys: false, smt: true },
});

/** The members of the SGX extension, each a pair of identifier and value. */
export function sgxPairs(sgx: SgxExtensions): Uint8Array[] {
  const { configuration, platformInstanceId } = sgx;
  const tcb = [
    ...sgx.components.map((svn, i) => pair(`${ROOT}.2.${i + 1}`, integer(svn))),
    pair(`${ROOT}.2.17`, integer(sgx.pceSvn)),
    pair(`${ROOT}.2.18`, octets(sgx.cpuSvn)),
  ];
  return [
    pair(`${ROOT}.1`, octets(sgx.ppid)),
    pair(`${ROOT}.2`, sequence(...tcb)),
    pair(`${ROOT}.3`, octets(sgx.pceId)),
    pair(`${ROOT}.4`, octets(sgx.fmspc)),
    pair(`${ROOT}.5`, der(ENUMERATED, Uint8Array.of(sgx.sgxType))),
    ...(platformInstanceId === undefined ? [] : [pair(`${ROOT}.6`, octets(platformInstanceId))]),
    ...(configuration === undefined
      ? []
      : [
          pair(
            `${ROOT}.7`,
            sequence(
              pair(`${ROOT}.7.1`, boolean(configuration.dynamic)),
              pair(`${ROOT}.7.2`, boolean(configuration.cachedKeys)),
              pair(`${ROOT}.7.3`, boolean(configuration.smt)),
            ),
          ),
        ]),
  ];
}

export const sgxExtension = (pairs: readonly Uint8Array[]): ExtensionInput => ({
  id: ROOT,
  value: sequence(...pairs),
});

interface LevelJson {
  tcbDate: string;
  tcbStatus: string;
  advisoryIDs?: string[];
}
export interface SvnLevelJson extends LevelJson {
  tcb: { isvsvn: number };
}
interface Component {
  svn: number;
}
export interface PlatformLevelJson extends LevelJson {
  tcb: { sgxtcbcomponents: Component[]; pcesvn: number; tdxtcbcomponents?: Component[] };
}
export interface ModuleJson {
  id?: string;
  mrsigner: string;
  attributes: string;
  attributesMask: string;
  tcbLevels?: SvnLevelJson[];
}
/** TCB info, version 3, as it is published; members may be taken out and put in. */
export interface TcbInfoJson {
  id: string;
  version: number;
  issueDate: string;
  nextUpdate: string;
  fmspc: string;
  pceId: string;
  tcbType: number;
  tcbEvaluationDataNumber: number;
  tdxModule?: ModuleJson;
  tdxModuleIdentities?: ModuleJson[];
  tcbLevels: PlatformLevelJson[];
}
export interface QeIdentityJson {
  id: string;
  version: number;
  issueDate: string;
  nextUpdate: string;
  tcbEvaluationDataNumber: number;
  miscselect: string;
  miscselectMask: string;
  attributes: string;
  attributesMask: string;
  mrsigner: string;
  isvprodid: number;
  tcbLevels: SvnLevelJson[];
}

const dates = { issueDate: "2026-05-20T00:00:00Z", nextUpdate: "2026-06-19T00:00:00Z" };
const svns = (...first: readonly number[]): Component[] =>
  Array.from({ length: 16 }, (_, i) => ({ svn: first[i] ?? 0 }));
const level = (tcbStatus: string, tcbDate: string, advisoryIDs?: string[]): LevelJson => ({
  tcbDate,
  tcbStatus,
  ...(advisoryIDs && { advisoryIDs }),
});
const zeros48 = "00".repeat(48);
const identity = (id: string, ...tcbLevels: SvnLevelJson[]): ModuleJson => ({
  id,
  mrsigner: zeros48,
  attributes: "0000000000000000",
  attributesMask: "FFFFFFFFFFFFFFFF",
  tcbLevels,
});

export function goodTcbInfo(tee: "tdx" | "sgx"): TcbInfoJson {
  const tdx = (...first: readonly number[]) =>
    tee === "tdx" ? { tdxtcbcomponents: svns(...first) } : undefined;
  return {
    id: tee === "tdx" ? "TDX" : "SGX",
    version: 3,
    ...dates,
    fmspc: "00A0B0C0D0E0",
    pceId: "0000",
    tcbType: 0,
    tcbEvaluationDataNumber: 20,
    ...(tee === "tdx" && {
      tdxModule: { mrsigner: zeros48, attributes: "0000000000000000", attributesMask: "FFFFFFFFFFFFFFFF" },
      tdxModuleIdentities: [
        identity("TDX_03", { tcb: { isvsvn: 3 }, ...level("UpToDate", "2026-01-01T00:00:00Z") }),
        identity(
          "TDX_01",
          { tcb: { isvsvn: 6 }, ...level("UpToDate", "2026-01-01T00:00:00Z") },
          { tcb: { isvsvn: 4 }, ...level("OutOfDate", "2025-01-01T00:00:00Z", ["INTEL-SA-99991"]) },
          { tcb: { isvsvn: 2 }, ...level("Revoked", "2024-01-01T00:00:00Z", ["INTEL-SA-99992"]) },
        ),
      ],
    }),
    tcbLevels: [
      {
        tcb: { sgxtcbcomponents: svns(3, 3, 2, 2, 4, 1, 0, 3), pcesvn: 11, ...tdx(5, 0, 3) },
        ...level("UpToDate", "2026-01-01T00:00:00Z"),
      },
      {
        tcb: { sgxtcbcomponents: svns(3, 3, 2, 2, 3, 1, 0, 3), pcesvn: 11, ...tdx(5, 0, 3) },
        ...level("SWHardeningNeeded", "2025-06-01T00:00:00Z", ["INTEL-SA-99980"]),
      },
      {
        tcb: { sgxtcbcomponents: svns(2, 2, 2, 2, 2, 1, 0, 2), pcesvn: 10, ...tdx(4, 0, 2) },
        ...level("OutOfDate", "2024-01-01T00:00:00Z", ["INTEL-SA-99981"]),
      },
      {
        tcb: { sgxtcbcomponents: svns(1, 1), pcesvn: 5, ...tdx(1, 0, 1) },
        ...level("Revoked", "2023-01-01T00:00:00Z", ["INTEL-SA-99982"]),
      },
    ],
  };
}

export const goodQeIdentity = (tee: "tdx" | "sgx"): QeIdentityJson => ({
  id: tee === "tdx" ? "TD_QE" : "QE",
  version: 2,
  ...dates,
  tcbEvaluationDataNumber: 20,
  miscselect: "00000000",
  miscselectMask: "FFFFFFFF",
  attributes: "11000000000000000000000000000000",
  attributesMask: "FBFFFFFFFFFFFFFF0000000000000000",
  mrsigner: "DC9E2A7C6F948F17474E34A7FC43ED030F7C1563F1BABDDF6340C82E0E54A8C5",
  isvprodid: tee === "tdx" ? 2 : 1,
  tcbLevels: [
    { tcb: { isvsvn: 4 }, ...level("UpToDate", "2026-01-01T00:00:00Z") },
    { tcb: { isvsvn: 2 }, ...level("OutOfDate", "2024-01-01T00:00:00Z", ["INTEL-SA-99970"]) },
  ],
});

/** A signed document: the object's text, and how it is signed. */
interface DocumentInput {
  /** The text of the object that is signed; default: what JSON.stringify makes. */
  readonly text?: (json: string) => string;
  readonly key?: KeyPair;
  /** Changes the document behind the signature. */
  readonly after?: (document: string) => string;
}

export interface PlatformInput {
  readonly version?: 3 | 4 | 5;
  /** 1 is SGX. */
  readonly bodyType?: QuoteBodyType;
  readonly ca?: "Platform" | "Processor";
  readonly sgx?: (sgx: SgxExtensions) => void;
  /** Members of the SGX extension: gets the good ones, gives those to use. */
  readonly pairs?: (good: Uint8Array[]) => Uint8Array[];
  readonly pck?: Partial<CertificateInput>;
  readonly intermediate?: Partial<CertificateInput>;
  readonly root?: Partial<CertificateInput>;
  readonly signer?: Partial<CertificateInput>;
  readonly rootCrl?: Partial<CrlInput>;
  readonly pckCrl?: Partial<CrlInput>;
  readonly tcbInfo?: (info: TcbInfoJson) => void;
  readonly tcbInfoDocument?: DocumentInput;
  readonly qeIdentity?: (identity: QeIdentityJson) => void;
  readonly qeIdentityDocument?: DocumentInput;
  readonly td?: LayoutInput<typeof tdBodyExLayout>;
  readonly enclave?: LayoutInput<typeof sgxReportLayout>;
  readonly qe?: LayoutInput<typeof sgxReportLayout>;
  readonly header?: NonNullable<QuoteInput["header"]>;
  readonly authData?: Uint8Array;
  /** Instead of the PEM chain. */
  readonly certification?: CertificationInput;
  readonly trailing?: Uint8Array;
  /** Changes to the header and body, before they are signed. */
  readonly beforeSigning?: (signed: Uint8Array) => void;
  /** Changes to the quote's bytes, afterwards. */
  readonly change?: (quote: Uint8Array) => void;
}

export interface Platform extends QuoteEvidence {
  readonly collateral: Required<QuoteCollateral>;
  readonly roots: readonly TrustAnchor[];
  /** DER: PCK, CA, root; and that of the collateral's signer. */
  readonly chain: readonly [pck: Uint8Array, ca: Uint8Array, root: Uint8Array];
  readonly signer: Uint8Array;
}

const fromHex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"));
const p256 = (key: KeyPair, data: Uint8Array): Uint8Array =>
  new Uint8Array(sign("sha256", data, { key: key.privateKey, dsaEncoding: "ieee-p1363" }));
/** X and Y: the end of a SubjectPublicKeyInfo of P-256. */
export const pointOf = ({ spki }: KeyPair): Uint8Array => spki.slice(-64);

function document(
  name: string,
  object: object,
  { text = (json) => json, key = keyPair("P-256", "tcb signer"), after = (all) => all }: DocumentInput = {},
): Uint8Array {
  const body = text(JSON.stringify(object));
  const signature = Buffer.from(p256(key, new TextEncoder().encode(body))).toString("hex");
  return new TextEncoder().encode(after(`{"${name}":${body},"signature":"${signature}"}`));
}

export const keys = {
  root: keyPair("P-256", "intel root"),
  ca: keyPair("P-256", "pck ca"),
  pck: keyPair("P-256", "pck"),
  signer: keyPair("P-256", "tcb signer"),
  attestation: keyPair("P-256", "attestation key"),
};
export const rootName = "Intel SGX Root CA";
const signs = KeyUsage.keyCertSign | KeyUsage.crlSign;
const mrSigner = fromHex("dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5");
export const SERIALS = { root: 0x100, ca: 0x200, pck: 0x300, signer: 0x400 } as const;
const signatureOnly = keyUsage(KeyUsage.digitalSignature);

/** A TD body, or an SGX report, of a type. */
function bodyOf(type: QuoteBodyType, { td, enclave }: PlatformInput): Uint8Array {
  const layout = quoteBodies[type].layout;
  if (type === 1)
    return sgxReportLayout.build({
      attributeFlags: 5n,
      attributeXfrm: 3n,
      mrEnclave: new Uint8Array(32).fill(0x33),
      ...enclave,
    });
  const fields: Record<string, unknown> = {
    teeTcbSvn: Uint8Array.of(6, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    teeTcbSvn2: Uint8Array.of(6, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    tdAttributes: 1n << 28n,
    xfam: 0xe7n,
    mrTd: new Uint8Array(48).fill(0x44),
    reportData: new Uint8Array(64).fill(0xab),
    ...td,
  };
  const known = new Set<string>(layout.rows.map(({ name }) => name));
  return layout.build(Object.fromEntries(Object.entries(fields).filter(([name]) => known.has(name))));
}

/** A quote with everything that it is verified by. Good at `platformTime`. */
export function platform(input: PlatformInput = {}): Platform {
  const { version = 4, ca = "Platform" } = input;
  const type = input.bodyType ?? (version === 3 ? 1 : 2);
  const tee = type === 1 ? "sgx" : "tdx";
  const caName = `Intel SGX PCK ${ca} CA`;
  const root = certificate({
    subject: rootName,
    key: keys.root,
    serial: SERIALS.root,
    extensions: [basicConstraints(true, 1), keyUsage(signs)],
    ...input.root,
  });
  const rootIssuer = { name: rootName, key: keys.root };
  const intermediate = certificate({
    subject: caName,
    key: keys.ca,
    issuer: rootIssuer,
    serial: SERIALS.ca,
    extensions: [basicConstraints(true, 0), keyUsage(signs)],
    ...input.intermediate,
  });
  const caIssuer = { name: caName, key: keys.ca };
  const sgx = goodSgx();
  if (ca === "Processor") {
    sgx.sgxType = 0;
    delete sgx.platformInstanceId;
    delete sgx.configuration;
  }
  input.sgx?.(sgx);
  const pairs = sgxPairs(sgx);
  const pck = certificate({
    subject: "Intel SGX PCK Certificate",
    key: keys.pck,
    issuer: caIssuer,
    serial: SERIALS.pck,
    extensions: [basicConstraints(false), signatureOnly, sgxExtension(input.pairs?.(pairs) ?? pairs)],
    ...input.pck,
  });
  const signer = certificate({
    subject: "Intel SGX TCB Signing",
    key: keys.signer,
    issuer: rootIssuer,
    serial: SERIALS.signer,
    extensions: [basicConstraints(false), signatureOnly],
    ...input.signer,
  });

  const info = goodTcbInfo(tee);
  input.tcbInfo?.(info);
  const qeIdentity = goodQeIdentity(tee);
  input.qeIdentity?.(qeIdentity);

  const authData = input.authData ?? Uint8Array.from({ length: 32 }, (_, i) => i);
  const attestationKey = pointOf(keys.attestation);
  const bound = createHash("sha256").update(attestationKey).update(authData).digest();
  const report = sgxReportLayout.build({
    attributeFlags: 0x11n,
    attributeXfrm: 0xe7n,
    mrEnclave: new Uint8Array(32).fill(0x55),
    mrSigner,
    isvProdId: tee === "tdx" ? 2 : 1,
    isvSvn: 4,
    reportData: Uint8Array.of(...bound, ...new Uint8Array(32)),
    ...input.qe,
  });
  const header = { qeVendorId: fromHex(INTEL_QE_VENDOR_ID), ...input.header };
  const parts = { version, header, body: { type, bytes: bodyOf(type, input) } };
  const signed = buildSignedPart(parts);
  input.beforeSigning?.(signed);
  const pem = [pck, intermediate, root].map((one) => encodePem("CERTIFICATE", one)).join("");
  const built = buildQuote({
    ...parts,
    signature: p256(keys.attestation, signed),
    attestationKey,
    qe: {
      report,
      reportSignature: p256(keys.pck, report),
      authData,
      certification: input.certification ?? { type: 5, data: new TextEncoder().encode(`${pem}\0`) },
    },
    ...(input.trailing && { trailing: input.trailing }),
  });
  built.set(signed);
  input.change?.(built);
  return {
    quote: built,
    collateral: {
      tcbInfo: document("tcbInfo", info, input.tcbInfoDocument),
      qeIdentity: document("enclaveIdentity", qeIdentity, input.qeIdentityDocument),
      signers: [
        new TextEncoder().encode([signer, root].map((one) => encodePem("CERTIFICATE", one)).join("")),
      ],
      rootCrl: crl({ issuer: rootIssuer, ...input.rootCrl }),
      pckCrl: crl({ issuer: caIssuer, ...input.pckCrl }),
    },
    roots: [anchorOf(root)],
    chain: [pck, intermediate, root],
    signer,
  };
}

/** A critical extension that no list of Intel's has. */
export const distributionPoint = (critical: boolean): ExtensionInput => ({
  id: ExtensionId.issuingDistributionPoint,
  critical,
  value: sequence(der(0x84, Uint8Array.of(0xff))),
});
