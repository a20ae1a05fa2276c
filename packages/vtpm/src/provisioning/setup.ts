import { type NvStore, Tpm } from "@entresol/tpm";
import { Su } from "@entresol/tpm-types";
import { TpmClient } from "../client/tpm-client.ts";
import { inProcess } from "../client/transport.ts";
import type { StateStore } from "../state-store.ts";
import { confirm } from "./confirmation.ts";
import { allocateBanks, type Provisioned, type ProvisioningOptions, provision } from "./provision.ts";

/*
 * A TPM is provisioned in memory and stored in one commit, after it was looked at through a reset: a folder has a whole TPM or the one of
 * before, whenever the process ends.
 */

class LastCommit implements NvStore {
  permanent: Uint8Array | undefined;

  commit(permanent: Uint8Array): void {
    this.permanent = permanent;
  }
}

/** Power comes, `use` is done on the started TPM, and power goes in order. Gives the permanent state of then. */
async function powered<T>(
  permanent: Uint8Array | undefined,
  use: (client: TpmClient) => Promise<T>,
): Promise<{ readonly permanent: Uint8Array; readonly result: T }> {
  const store = new LastCommit();
  const tpm = new Tpm({ store, ...(permanent && { permanent }) });
  const client = new TpmClient(inProcess(tpm));
  await client.run("Startup", {}, { startupType: Su.CLEAR });
  const result = await use(client);
  await client.run("Shutdown", {}, { shutdownType: Su.CLEAR });
  tpm.powerOff();
  return { permanent: tpm.savePermanent(), result };
}

/**
 * Makes a TPM and stores it in place of what `store` has. Rejects as `provision` does and as the store does; nothing is stored then. `clear` is
 * called when the TPM is ready to be stored: for a state that is to go first, as it cannot be read.
 */
export async function setUp(
  store: StateStore,
  options: ProvisioningOptions,
  clear: () => void = () => {},
): Promise<Provisioned> {
  const made = await powered(undefined, (client) => provision(client, options));
  const reset = await powered(made.permanent, (client) => confirm(client, options, made.result));
  clear();
  commitAlone(store, reset.permanent);
  return made.result;
}

/** Gives the TPM in `store` other PCR banks and changes nothing else. `permanent` is what the store has. Rejects likewise. */
export async function reconfigure(
  store: StateStore,
  permanent: Uint8Array,
  pcrBanks: readonly number[],
): Promise<void> {
  const changed = await powered(permanent, (client) => allocateBanks(client, pcrBanks));
  const nothing = { endorsementKeys: [], platformCertificate: undefined, storageRoot: undefined };
  const reset = await powered(changed.permanent, (client) =>
    confirm(client, { keys: [], pcrBanks }, nothing),
  );
  store.commit(reset.permanent);
}

/** A store keeps the state of before beside the new one, for the case that the new one is damaged: here that would be another TPM. */
function commitAlone(store: StateStore, permanent: Uint8Array): void {
  store.commit(permanent);
  store.commit(permanent);
  store.deleteVolatile();
}
