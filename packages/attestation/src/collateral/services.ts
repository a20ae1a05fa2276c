import type { SnpTcb } from "@entresol/evidence";
import { toHex } from "@entresol/wire";
import type { SnpLine } from "../snp/amd-keys.ts";
import type { CollateralRole } from "./windows.ts";

/* Who publishes what is needed beside evidence, and how one asks for it. */

/** kds: AMD's. pcs: Intel's, or a caching service in its place (PCCS). roots: Intel's for the list of the root. */
export type ServiceName = "kds" | "pcs" | "roots";

/** Where the services are, without a slash at the end. */
export type ServiceBases = Readonly<Record<ServiceName, string>>;

export const publicServices: ServiceBases = {
  kds: "https://kdsintf.amd.com",
  pcs: "https://api.trustedservices.intel.com",
  roots: "https://certificates.trustedservices.intel.com",
};

/** A document, and how to ask for it. */
export interface CollateralRequest {
  readonly service: ServiceName;
  /** Path and query, behind the service's base. */
  readonly path: string;
  readonly role: CollateralRole;
  /** File name for a bundle. */
  readonly name: string;
  /** The answer's header with the certificates of who signed, PEM in percent-encoding; the first that is there counts. */
  readonly chainHeaders: readonly string[];
}

type Tee = "sgx" | "tdx";
/** Which of Intel's two sets: "early" holds what is published but not yet enforced. */
export type UpdateSet = "standard" | "early";
export type PckAuthority = "platform" | "processor";

const pad = (value: number): string => String(value).padStart(2, "0");
const filled = (template: string, values: Readonly<Record<string, string>>): string =>
  template.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(values[name] ?? ""));

/** Paths of the services as their documents have them: AMD 57230 chapter 4; Intel SGX/TDX PCS API v4. */
export const servicePaths = {
  vcek: "/vcek/v1/{line}/{chip}?blSPL={bl}&teeSPL={tee}&snpSPL={snp}&ucodeSPL={ucode}",
  turinVcek: "/vcek/v1/{line}/{chip}?fmcSPL={fmc}&blSPL={bl}&teeSPL={tee}&snpSPL={snp}&ucodeSPL={ucode}",
  amdChain: "/{kind}/v1/{line}/cert_chain",
  amdCrl: "/{kind}/v1/{line}/crl",
  tcbInfo: "/{tee}/certification/v4/tcb?fmspc={fmspc}&update={update}",
  qeIdentity: "/{tee}/certification/v4/qe/identity?update={update}",
  pckCrl: "/sgx/certification/v4/pckcrl?ca={ca}&encoding=der",
  pckCertificate:
    "/sgx/certification/v4/pckcert?encrypted_ppid={ppid}&cpusvn={cpusvn}&pcesvn={pcesvn}&pceid={pceid}",
  rootCrl: "/IntelSGXRootCA.der",
  /** Of caching services alone, which give it in hexadecimal. */
  cachedRootCrl: "/sgx/certification/v4/rootcacrl",
} as const;

/** The certificate of a chip's key at a TCB. Turin's chips are named by their first 8 bytes. */
export function vcekRequest(line: SnpLine, chipId: Uint8Array, tcb: SnpTcb): CollateralRequest {
  const { fmc = 0, bootloader, tee, snp, microcode } = tcb;
  return {
    service: "kds",
    path: filled(line === "Turin" ? servicePaths.turinVcek : servicePaths.vcek, {
      line,
      chip: toHex(line === "Turin" ? chipId.subarray(0, 8) : chipId),
      fmc: pad(fmc),
      bl: pad(bootloader),
      tee: pad(tee),
      snp: pad(snp),
      ucode: pad(microcode),
    }),
    role: "certificate",
    name: "vcek.der",
    chainHeaders: [],
  };
}

/** ASK or ASVK, and ARK of a product line. */
export function amdChainRequest(line: SnpLine, kind: "vcek" | "vlek"): CollateralRequest {
  return {
    service: "kds",
    path: filled(servicePaths.amdChain, { line, kind }),
    role: "tcb-signers",
    name: `${kind}-chain.pem`,
    chainHeaders: [],
  };
}

/** AMD's list for a product line: signed by its ARK. */
export function amdCrlRequest(line: SnpLine, kind: "vcek" | "vlek"): CollateralRequest {
  return {
    service: "kds",
    path: filled(servicePaths.amdCrl, { line, kind }),
    role: "crl",
    name: "crl.der",
    chainHeaders: [],
  };
}

export function tcbInfoRequest(
  tee: Tee,
  fmspc: Uint8Array,
  update: UpdateSet = "standard",
): CollateralRequest {
  return {
    service: "pcs",
    path: filled(servicePaths.tcbInfo, { tee, fmspc: toHex(fmspc), update }),
    role: "tcb-info",
    name: "tcbinfo.json",
    // The older name is what SGX's service had, and what caching services still give.
    chainHeaders: ["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"],
  };
}

export function qeIdentityRequest(tee: Tee, update: UpdateSet = "standard"): CollateralRequest {
  return {
    service: "pcs",
    path: filled(servicePaths.qeIdentity, { tee, update }),
    role: "qe-identity",
    name: "qeidentity.json",
    chainHeaders: ["SGX-Enclave-Identity-Issuer-Chain"],
  };
}

export function pckCrlRequest(ca: PckAuthority): CollateralRequest {
  return {
    service: "pcs",
    path: filled(servicePaths.pckCrl, { ca }),
    role: "pck-crl",
    name: "pck_crl.der",
    chainHeaders: ["SGX-PCK-CRL-Issuer-Chain"],
  };
}

/** The list of Intel's root, from its own place or from a caching service. */
export function rootCrlRequest(from: "roots" | "pcs" = "roots"): CollateralRequest {
  return {
    service: from,
    path: from === "roots" ? servicePaths.rootCrl : servicePaths.cachedRootCrl,
    role: "root-crl",
    name: "root_ca_crl.der",
    chainHeaders: [],
  };
}

/** The PCK certificate of a platform whose quote names it by its encrypted PPID. Numbers are little-endian in the request. */
export function pckCertificateRequest(of: {
  readonly encryptedPpid: Uint8Array;
  readonly cpuSvn: Uint8Array;
  readonly pceSvn: number;
  readonly pceId: number;
}): CollateralRequest {
  const half = (value: number): string => toHex(Uint8Array.of(value & 0xff, value >> 8));
  return {
    service: "pcs",
    path: filled(servicePaths.pckCertificate, {
      ppid: toHex(of.encryptedPpid),
      cpusvn: toHex(of.cpuSvn),
      pcesvn: half(of.pceSvn),
      pceid: half(of.pceId),
    }),
    role: "certificate",
    name: "pck.pem",
    chainHeaders: ["SGX-PCK-Certificate-Issuer-Chain"],
  };
}
