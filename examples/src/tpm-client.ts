// A TPM client in Node: an encrypted session, a key, a signature, over a socket of swtpm's kind. node examples/dist/tpm-client.js
import { verify } from "node:crypto";
import { Alg, Curve, noScheme, noSymmetric, ObjectAttribute, Rh } from "@entresol/tpm-types";
import { connectTpm, loadProvisioning, MemoryStore, SocketService, TpmClient, TpmHost } from "@entresol/vtpm";

const none = new Uint8Array(0);
const { fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, sign } = ObjectAttribute;
const signingKey = {
  type: Alg.ECC,
  nameAlg: Alg.SHA256,
  objectAttributes: fixedTPM | fixedParent | sensitiveDataOrigin | userWithAuth | sign,
  authPolicy: none,
  parameters: {
    symmetric: noSymmetric,
    scheme: noScheme,
    curveID: Curve.NIST_P256,
    kdf: { scheme: Alg.NULL, hash: Alg.NULL },
  },
  unique: { x: none, y: none },
} as const;

/** Signs `message` by a P-256 key that the TPM makes; the key's password goes to the TPM encrypted. Is the signature right? */
export async function signAndVerify(client: TpmClient, message: Uint8Array): Promise<boolean> {
  const session = await client.startSession();
  const auth = "the key's password";
  const inSensitive = { userAuth: Buffer.from(auth), data: none };
  const key = await client.run(
    "CreatePrimary",
    { primaryHandle: Rh.OWNER },
    { inSensitive, inPublic: signingKey, outsideInfo: none, creationPCR: [] },
    { auth: [{ session, encryptCommand: true }] },
  );
  const hashing = { data: message, hashAlg: Alg.SHA256, hierarchy: Rh.OWNER };
  const { outHash: digest, validation } = await client.run("Hash", {}, hashing);
  const inScheme = { scheme: Alg.ECDSA, hash: Alg.SHA256, count: 0 };
  const parameters = { digest, inScheme, validation };
  const signing = { auth: [{ session, auth }] };
  const { signature } = await client.run("Sign", { keyHandle: key.handle }, parameters, signing);
  if (signature.sigAlg !== Alg.ECDSA) return false;
  const publicKey = (await loadProvisioning()).publicKeyOf(key.outPublic);
  const padded = (value: Uint8Array) => Buffer.concat([Buffer.alloc(32 - value.length), value]);
  const rs = Buffer.concat([padded(signature.r), padded(signature.s)]);
  return verify("sha256", message, { key: publicKey, dsaEncoding: "ieee-p1363" }, rs);
}

/** The same with a service of our own, reached by TCP as any other that speaks swtpm's protocol. */
export async function overSocket(message: Uint8Array): Promise<boolean> {
  const host = new TpmHost({ store: new MemoryStore() });
  host.start();
  host.startup(0);
  const service = await SocketService.open({ host, data: { kind: "tcp", port: 0, address: "127.0.0.1" } });
  const client = new TpmClient(await connectTpm({ host: "127.0.0.1", port: Number(service.dataAddress) }));
  const right = await signAndVerify(client, message);
  client.close();
  await service.close();
  return right;
}
if (process.argv[1]?.endsWith("tpm-client.js")) console.log(await overSocket(Buffer.from("message")));
