import { X509Certificate } from "node:crypto";
import { Cap, type Public } from "@entresol/tpm-types";
import type { TpmClient } from "../client/tpm-client.ts";
import type { CertificateAuthority } from "./certificate-authority.ts";
import { endorsementKeys } from "./endorsement-keys.ts";
import { NvArea, readArea } from "./nv-areas.ts";
import { type Provisioned, ProvisioningError, type ProvisioningOptions } from "./provision.ts";
import { publicKeyOf } from "./public-key.ts";

/** Is a certificate of this public area's key, signed by the authority? */
function certifies(certificate: Uint8Array, publicArea: Public, authority: CertificateAuthority): boolean {
  const read = new X509Certificate(certificate);
  return (
    read.publicKey.equals(publicKeyOf(publicArea)) && read.verify(authority.issuer.certificate.publicKey)
  );
}

/**
 * Looks at a TPM as its owner will after a reset: are the keys, certificates and PCR banks there as they were provisioned? Rejects with
 * `ProvisioningError` "not-confirmed" when they are not.
 */
export async function confirm(
  client: TpmClient,
  options: ProvisioningOptions,
  provisioned: Provisioned,
): Promise<void> {
  const wrong = (what: string): ProvisioningError =>
    new ProvisioningError("not-confirmed", `after a reset ${what} is not as it was provisioned`);
  for (const { key, handle, publicArea, name, certificate } of provisioned.endorsementKeys) {
    const read = await client.run("ReadPublic", { objectHandle: handle }, {});
    if (Buffer.compare(read.name, name) !== 0) throw wrong(`endorsement key ${key}`);
    if (certificate === undefined || options.certification === undefined) continue;
    const stored = await readArea(client, endorsementKeys[key].certificateIndex);
    if (
      Buffer.compare(stored, certificate) !== 0 ||
      !certifies(stored, publicArea, options.certification.authority)
    )
      throw wrong(`the certificate of endorsement key ${key}`);
  }
  const { platformCertificate } = provisioned;
  if (
    platformCertificate !== undefined &&
    Buffer.compare(await readArea(client, NvArea.platformCertificate), platformCertificate) !== 0
  )
    throw wrong("the platform certificate");
  if (options.pcrBanks === undefined) return;
  const { capabilityData } = await client.run(
    "GetCapability",
    {},
    { capability: Cap.PCRS, property: 0, propertyCount: 16 },
  );
  const active =
    capabilityData.capability === Cap.PCRS
      ? capabilityData.data.filter(({ pcrSelect }) => pcrSelect.some((byte) => byte !== 0))
      : [];
  const banks = active.map(({ hash }) => hash);
  const asked = options.pcrBanks;
  if (banks.length !== asked.length || asked.some((hash) => !banks.includes(hash)))
    throw wrong("the choice of PCR banks");
}
