// A secret for a confidential machine: it leaves only for a key that the machine's report names, and only when a policy accepts the report.
// node examples/dist/gate-secret.js
import { anchorOf, judge, type PolicyInput, type SnpOptions, verifySnp } from "@entresol/attestation";
import { toHex } from "@entresol/wire";
import { makeSampleChip } from "./sample-chip.ts";

const RSA = { name: "RSA-OAEP", hash: "SHA-256" } as const;

/** What a guest sends to get the secret. */
export interface SecretRequest {
  readonly report: Uint8Array;
  readonly certificates: readonly Uint8Array[];
  /** SubjectPublicKeyInfo of a key that was made inside of the guest. */
  readonly publicKey: Uint8Array<ArrayBuffer>;
}

/** What REPORT_DATA must be, so that the report is of this conversation, and the key of that guest. */
export async function binding(nonce: Uint8Array, publicKey: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-512", Uint8Array.from([...nonce, ...publicKey])));
}

/** The secret, encrypted to the guest's key; or why it is not given. */
export async function gate(
  secret: string,
  { report, certificates, publicKey }: SecretRequest,
  nonce: Uint8Array,
  policy: PolicyInput,
  options: SnpOptions = {},
): Promise<Uint8Array | string[]> {
  const reportData = [toHex(await binding(nonce, publicKey))];
  const outcome = await verifySnp({ report, certificates }, options);
  const decision = judge(outcome, { ...policy, snp: { ...policy.snp, reportData } });
  if (decision.verdict !== "accepted") {
    const broken = decision.reasons
      .filter(({ holds }) => !holds)
      .map(({ rule, detail }) => `${rule}: ${detail}`);
    return [
      ...broken,
      ...[...decision.failed, ...decision.missing].map(({ id, detail }) => `${id}: ${detail}`),
    ];
  }
  const key = await crypto.subtle.importKey("spki", publicKey, RSA, false, ["encrypt"]);
  return new Uint8Array(await crypto.subtle.encrypt(RSA, key, new TextEncoder().encode(secret)));
}

if (process.argv[1]?.endsWith("gate-secret.js")) {
  const chip = await makeSampleChip();
  const nonce = crypto.getRandomValues(new Uint8Array(32));
  const size = { modulusLength: 2048, publicExponent: Uint8Array.of(1, 0, 1) };
  const keys = await crypto.subtle.generateKey({ ...RSA, ...size }, true, ["encrypt", "decrypt"]);
  const publicKey = new Uint8Array(await crypto.subtle.exportKey("spki", keys.publicKey));
  const report = await chip.report({ reportData: await binding(nonce, publicKey) });
  const request = { report, certificates: [chip.vcek, chip.ask], publicKey };
  const given = await gate("open sesame", request, nonce, {}, { roots: [anchorOf(chip.ark)] });
  if (!(given instanceof Uint8Array)) throw new Error(given.join("\n"));
  const opened = await crypto.subtle.decrypt(RSA, keys.privateKey, new Uint8Array(given));
  console.log(`${given.length} bytes, which the guest opens: ${new TextDecoder().decode(opened)}`);
}
