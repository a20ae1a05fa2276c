import { sign } from "node:crypto";
import { buildSnpReport, SNP_SIGNED_SIZE, snpSignatureFields } from "@entresol/evidence";
import type { SnpLine } from "../snp/amd-keys.ts";
import type { SnpEvidence } from "../snp/evidence.ts";
import { KeyUsage } from "../x509/certificate.ts";
import { ia5, integer } from "./der-writer.ts";
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

/* A chip with its keys, its authorities and its reports, for tests: everything can be made otherwise than AMD would. */

const ROOT = "1.3.6.1.4.1.3704.1";
const families: Readonly<Record<SnpLine, readonly [number, number, number]>> = {
  Milan: [0x19, 0x01, 1],
  Genoa: [0x19, 0x11, 1],
  Turin: [0x1a, 0x02, 1],
};

export interface Tcb {
  readonly fmc?: number;
  readonly bootloader: number;
  readonly tee: number;
  readonly snp: number;
  readonly microcode: number;
}

function tcbBytes(line: SnpLine, { fmc = 0, bootloader, tee, snp, microcode }: Tcb): Uint8Array {
  return line === "Turin"
    ? Uint8Array.of(fmc, bootloader, tee, snp, 0, 0, 0, microcode)
    : Uint8Array.of(bootloader, tee, 0, 0, 0, 0, snp, microcode);
}

export interface ChipInput {
  readonly line?: SnpLine;
  readonly kind?: "vcek" | "vlek";
  readonly tcb?: Tcb;
  /** Fields of the report that differ from a good one. */
  readonly report?: Partial<Parameters<typeof buildSnpReport>[0]>;
  /** Changes to the signed report's bytes. */
  readonly change?: (report: Uint8Array) => void;
  /** Extensions of the leaf: gets the good ones, gives those to use. */
  readonly extensions?: (good: readonly ExtensionInput[]) => readonly ExtensionInput[];
  readonly leaf?: Partial<CertificateInput>;
  readonly ask?: Partial<CertificateInput>;
  readonly ark?: Partial<CertificateInput>;
  /** The list of revoked certificates; undefined: none is given. */
  readonly crl?: Partial<CrlInput>;
}

export interface Chip extends SnpEvidence {
  readonly certificates: readonly [leaf: Uint8Array, ask: Uint8Array, ark: Uint8Array];
  readonly leafKey: KeyPair;
}

export const chipId = Uint8Array.from({ length: 64 }, (_, i) => i + 1);
export const goodTcb: Tcb = { bootloader: 4, tee: 1, snp: 22, microcode: 0xdb };

/** The extensions of a good VCEK or VLEK. */
export function goodExtensions(line: SnpLine, kind: "vcek" | "vlek", tcb: Tcb): ExtensionInput[] {
  const level = (number: number, value: number): ExtensionInput => ({
    id: `${ROOT}.3.${number}`,
    value: integer(value),
  });
  return [
    { id: `${ROOT}.1`, value: integer(0) },
    { id: `${ROOT}.2`, value: ia5(kind === "vcek" ? `${line}-B0` : line) },
    level(1, tcb.bootloader),
    level(2, tcb.tee),
    level(3, tcb.snp),
    level(8, tcb.microcode),
    ...(line === "Turin" ? [level(9, tcb.fmc ?? 0)] : [level(4, 0)]),
    kind === "vcek"
      ? { id: `${ROOT}.4`, value: line === "Turin" ? chipId.slice(0, 8) : chipId }
      : { id: `${ROOT}.5`, value: ia5("a cloud") },
  ];
}

/** Evidence of a chip: report, leaf, ASK or ASVK, ARK, and a list when asked for. Valid on 2026-06-01. */
export function chip(input: ChipInput = {}): Chip {
  const { line = "Genoa", kind = "vcek", tcb = goodTcb } = input;
  const arkKey = keyPair("rsa-2048", "ark");
  const askKey = keyPair("rsa-2048", "ask");
  const leafKey = keyPair("P-384", "leaf");
  const arkName = `ARK-${line}`;
  const askName = kind === "vcek" ? `SEV-${line}` : `SEV-VLEK-${line}`;
  const signs = KeyUsage.keyCertSign | KeyUsage.crlSign;
  const ark = certificate({
    subject: arkName,
    key: arkKey,
    serial: 0x100,
    extensions: [basicConstraints(true), keyUsage(signs)],
    ...input.ark,
  });
  const ask = certificate({
    subject: askName,
    key: askKey,
    issuer: { name: arkName, key: arkKey },
    serial: 0x101,
    extensions: [basicConstraints(true, 0), keyUsage(KeyUsage.keyCertSign)],
    ...input.ask,
  });
  const good = goodExtensions(line, kind, tcb);
  const leaf = certificate({
    subject: kind === "vcek" ? "SEV-VCEK" : "SEV-VLEK",
    key: leafKey,
    issuer: { name: askName, key: askKey },
    serial: 0,
    extensions: input.extensions?.(good) ?? good,
    ...input.leaf,
  });
  const [family, model, stepping] = families[line];
  const version = tcbBytes(line, tcb);
  const id = new Uint8Array(64);
  if (kind === "vcek") id.set(line === "Turin" ? chipId.subarray(0, 8) : chipId);
  const fields = {
    version: 3,
    policy: 0x3_0000n,
    signatureAlgorithm: 1,
    currentTcb: version,
    reportedTcb: version,
    committedTcb: version,
    launchTcb: version,
    flags: kind === "vlek" ? 0b110 : 0,
    reportData: new Uint8Array(64).fill(0xab),
    measurement: new Uint8Array(48).fill(0xcd),
    cpuidFamily: family,
    cpuidModel: model,
    cpuidStepping: stepping,
    chipId: id,
    ...input.report,
  };
  const unsigned = buildSnpReport(fields).subarray(0, SNP_SIGNED_SIZE);
  const signature = sign("sha384", unsigned, { key: leafKey.privateKey, dsaEncoding: "ieee-p1363" });
  const report = buildSnpReport({
    ...fields,
    ...snpSignatureFields(new Uint8Array(signature)),
    ...input.report,
  });
  input.change?.(report);
  return {
    report,
    certificates: [leaf, ask, ark],
    leafKey,
    ...(input.crl === undefined
      ? {}
      : { crls: [crl({ issuer: { name: arkName, key: arkKey }, ...input.crl })] }),
  };
}
