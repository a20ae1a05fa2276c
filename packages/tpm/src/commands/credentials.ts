import { digestSizes, ofHandle, ofParameter, Rc, TpmError } from "@entresol/tpm-types";
import type { Handlers } from "../command.ts";
import { inParameter, isRestrictedDecryptionKey, objectOf } from "../objects.ts";
import { credentialToSecret, secretToCredential } from "../private-blob.ts";
import { decryptSecret, encryptSecret } from "../shared-secret.ts";

/* Credentials: something that only the TPM with two certain keys can read (Part 1, 24; Part 3, 12.5 and 12.6). */

const LABEL = "IDENTITY";

export const credentialCommands = {
  ActivateCredential(engine, { handles, parameters: { credentialBlob, secret } }) {
    const activated = objectOf(engine, handles.activateHandle, ofHandle(Rc.TYPE, 1));
    const key = objectOf(engine, handles.keyHandle, ofHandle(Rc.TYPE, 2));
    if (!isRestrictedDecryptionKey(key)) throw new TpmError(ofHandle(Rc.TYPE, 2));
    const seed = inParameter(2, () => decryptSecret(engine, key, LABEL, secret));
    const { name } = activated;
    return { certInfo: inParameter(1, () => credentialToSecret(engine, key, name, seed, credentialBlob)) };
  },

  MakeCredential(engine, { handles, parameters: { credential, objectName } }) {
    const key = objectOf(engine, handles.handle, ofHandle(Rc.TYPE, 1));
    if (!isRestrictedDecryptionKey(key)) throw new TpmError(ofHandle(Rc.TYPE, 1));
    if (credential.length > (digestSizes.get(key.publicArea.nameAlg) ?? 0))
      throw new TpmError(ofParameter(Rc.SIZE, 1));
    const { data, secret } = encryptSecret(engine, key, LABEL);
    return { credentialBlob: secretToCredential(engine, key, objectName, data, credential), secret };
  },
} satisfies Handlers;
