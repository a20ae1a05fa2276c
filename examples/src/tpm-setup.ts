// A TPM for a virtual machine, as its maker would deliver it; then a verifier's first question. node examples/dist/tpm-setup.js FOLDER CA
import { X509Certificate } from "node:crypto";
import { FileNvStore } from "@entresol/tpm";
import { inProcess, loadProvisioning, TpmClient, TpmHost } from "@entresol/vtpm";

/** Makes a TPM in `folder`, with a certificate by the authority in `ca`, which is made when there is none. */
export async function makeTpm(folder: string, ca: string, name: string): Promise<void> {
  const { CertificateAuthority, setUp } = await loadProvisioning();
  const authority = await CertificateAuthority.open(ca);
  const store = FileNvStore.open(folder);
  try {
    await setUp(store, {
      keys: ["rsa2048", "p384"],
      certification: { authority, commonName: name },
      lockNv: true,
    });
  } finally {
    store.close();
  }
}

/** Whom the TPM in `folder` was certified for by a trusted root, when its key is the one in the certificate. */
export async function certifiedName(folder: string, root: X509Certificate): Promise<string | undefined> {
  const { endorsementKeys, NvArea, publicKeyOf, readArea } = await loadProvisioning();
  const store = FileNvStore.open(folder);
  const host = new TpmHost({ store });
  host.start();
  host.startup(0);
  const client = new TpmClient(inProcess(host));
  try {
    const { persistentHandle, certificateIndex } = endorsementKeys.rsa2048;
    const certificate = new X509Certificate(await readArea(client, certificateIndex));
    const issuer = new X509Certificate(await readArea(client, NvArea.certificateChain));
    const { outPublic } = await client.run("ReadPublic", { objectHandle: persistentHandle }, {});
    const trusted = issuer.verify(root.publicKey) && certificate.verify(issuer.publicKey);
    const same = certificate.publicKey.equals(publicKeyOf(outPublic));
    return trusted && same ? certificate.subject : undefined;
  } finally {
    host.stop();
    store.close();
  }
}

const [, program, folder, ca] = process.argv;
if (program?.endsWith("tpm-setup.js") && folder !== undefined && ca !== undefined)
  await makeTpm(folder, ca, "example");
