// A secret that a TPM gives out only while PCR 16 is as it was. node examples/dist/seal-unseal.js
import { Tpm } from "@entresol/tpm";
import { Alg, ObjectAttribute, type PcrSelection, Rh, Su, type TpmError } from "@entresol/tpm-types";
import { inProcess, loadProvisioning, TpmClient } from "@entresol/vtpm";

const none = new Uint8Array(0);
const { fixedTPM, fixedParent } = ObjectAttribute;
const pcrs: PcrSelection[] = [{ hash: Alg.SHA256, pcrSelect: Uint8Array.of(0, 0, 1) }]; // bit 16
const made = { outsideInfo: none, creationPCR: [] };

/** A session whose policy is that PCR 16 is what it is now, and the digest of that policy. */
async function pcrPolicy(client: TpmClient, kind: "policy" | "trial") {
  const session = await client.startSession({ kind });
  const policySession = session.handle;
  await client.run("PolicyPCR", { policySession }, { pcrDigest: none, pcrs });
  const { policyDigest } = await client.run("PolicyGetDigest", { policySession }, {});
  return { session, policyDigest };
}

/** Seals a secret. Gives what unsealing gives, and what it gives once something else was measured. */
export async function sealAndUnseal(secret: string): Promise<string[]> {
  const client = new TpmClient(inProcess(new Tpm()));
  await client.run("Startup", {}, { startupType: Su.CLEAR });
  const { storageRootTemplate } = await loadProvisioning();
  const inSensitive = { userAuth: none, data: none };
  const parameters = { inSensitive, inPublic: storageRootTemplate("p384"), ...made };
  const { handle: parentHandle } = await client.run("CreatePrimary", { primaryHandle: Rh.OWNER }, parameters);
  const { policyDigest } = await pcrPolicy(client, "trial");
  const inPublic = {
    type: Alg.KEYEDHASH,
    nameAlg: Alg.SHA256,
    objectAttributes: fixedTPM | fixedParent,
    authPolicy: policyDigest,
    parameters: { scheme: { scheme: Alg.NULL, hash: Alg.NULL, kdf: Alg.NULL } },
    unique: none,
  } as const;
  const sealed = { inSensitive: { userAuth: none, data: Buffer.from(secret) }, inPublic, ...made };
  const { outPrivate, outPublic } = await client.run("Create", { parentHandle }, sealed);
  const loaded = { inPrivate: outPrivate, inPublic: outPublic };
  const { handle: itemHandle } = await client.run("Load", { parentHandle }, loaded);
  const unseal = async (): Promise<string> => {
    const { session } = await pcrPolicy(client, "policy");
    try {
      const { outData } = await client.run("Unseal", { itemHandle }, {}, { auth: [{ session, last: true }] });
      return Buffer.from(outData).toString();
    } catch (error) {
      return (error as TpmError).message;
    }
  };
  const before = await unseal();
  await client.run("PCR_Event", { pcrHandle: 16 }, { eventData: Buffer.from("something else") });
  return [before, await unseal()];
}

if (process.argv[1]?.endsWith("seal-unseal.js")) console.log(await sealAndUnseal("a secret"));
