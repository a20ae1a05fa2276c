import { createPublicKey, verify } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { anchorOf } from "../../dist/index.js";
import { platform, platformTime } from "../../dist/testing/quote-evidence.js";
import { chip } from "../../dist/testing/snp-evidence.js";

/* Evidence to measure with: of real machines where the recorded evidence is at hand, else of a PKI of our own. */

const vectors = process.env.ENTRESOL_VECTORS ?? resolve(import.meta.dirname, "../../../../../shared/vectors");
const folder = existsSync(join(vectors, "attest", "manifest.json")) ? join(vectors, "attest") : undefined;
const file = (...path) => new Uint8Array(readFileSync(join(folder, ...path)));

function recordedQuote(quote, collateral, at) {
  const of = (name) => file("collateral", collateral, name);
  return {
    evidence: {
      quote: file(...quote.split("/"), "quote.bin"),
      collateral: {
        tcbInfo: of("tcbinfo.json"),
        qeIdentity: of("qeidentity.json"),
        signers: [of("tcb_signing_chain.pem")],
        rootCrl: of("root_ca_crl.der"),
        pckCrl: of("pck_crl.der"),
      },
    },
    options: { at },
  };
}

function ownQuote(bodyType) {
  const { quote, collateral, roots, chain } = platform(bodyType === 1 ? { version: 3 } : { bodyType });
  return { evidence: { quote, collateral }, options: { at: platformTime, roots }, root: chain[2] };
}

const own = folder === undefined;
export const source = own ? "our own PKI" : "recorded";
export const tdx = own
  ? ownQuote(2)
  : recordedQuote("tdx/v4-phala-b0c06f", "tdx-b0c06f-2025-06", "2025-07-04T10:16:31Z");
export const sgx = own
  ? ownQuote(1)
  : recordedQuote("sgx/v3-phala", "sgx-00a067110000-2025-06", "2025-07-04T10:28:44Z");

function ownReport() {
  const { report, certificates } = chip();
  return {
    evidence: { report, certificates },
    options: { at: "2026-06-01T00:00:00Z", roots: [anchorOf(certificates[2])] },
  };
}
export const snp = own
  ? ownReport()
  : {
      evidence: {
        report: file("snp", "genoa-v3-msft", "report.bin"),
        certificates: [
          file("snp", "genoa-v3-msft", "vcek.der"),
          file("roots", "SEV-Genoa.der"),
          file("roots", "ARK-Genoa.der"),
        ],
      },
      options: { at: "2026-03-01T00:00:00Z" },
    };

/** A provider that writes down what it is asked for, so that it can be done again bare. */
export class Recorder {
  name = "recorder";
  /** { key, spki } or { key, xy } of P-256. */
  imports = [];
  verifications = [];
  #inner;

  constructor(inner) {
    this.#inner = inner;
  }
  digest(hash, ...parts) {
    return this.#inner.digest(hash, ...parts);
  }
  async importSpki(spki) {
    const key = await this.#inner.importSpki(spki);
    this.imports.push({ key, spki: spki.slice() });
    return key;
  }
  async importPoint(curve, xy) {
    const key = await this.#inner.importPoint(curve, xy);
    this.imports.push({ key, xy: xy.slice() });
    return key;
  }
  verify(key, scheme, signature, data) {
    this.verifications.push({ key, scheme, signature: signature.slice(), data: data.slice() });
    return this.#inner.verify(key, scheme, signature, data);
  }
}

const SPKI_OF_P256 = 91;
const base64url = (bytes) => Buffer.from(bytes).toString("base64url");

/** The cheapest form in which node:crypto takes a key: JWK for P-256, SubjectPublicKeyInfo for all others. */
function bareKey({ spki, xy = spki.length === SPKI_OF_P256 ? spki.subarray(27) : undefined }) {
  if (xy === undefined) return { key: Buffer.from(spki), format: "der", type: "spki" };
  const [x, y] = [xy.subarray(0, 32), xy.subarray(32)].map(base64url);
  return { key: { kty: "EC", crv: "P-256", x, y }, format: "jwk" };
}

/** The signatures verified again by node:crypto alone. Keys of `imports` are made of their bytes each time, once; others are ready. */
export function floorOf(verifications, imports) {
  const fresh = imports.map(bareKey);
  const steps = verifications.map(({ key, scheme, signature, data }) => ({
    at: imports.findIndex((one) => one.key === key),
    ready: key.handle,
    hash: scheme.hash,
    options:
      scheme.name === "ecdsa"
        ? { dsaEncoding: "ieee-p1363" }
        : { padding: scheme.name === "rsa-pss" ? 6 : 1, saltLength: scheme.saltLength },
    signature,
    data,
  }));
  return () => {
    const keys = fresh.map((input) => createPublicKey(input));
    for (const { at, ready, hash, options, signature, data } of steps)
      if (!verify(hash, data, { key: at < 0 ? ready : keys[at], ...options }, signature))
        throw new Error("a floor that does not hold");
  };
}
