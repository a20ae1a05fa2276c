import { Alg, Max, NvAttribute, type NvPublic, Rh } from "@entresol/tpm-types";
import type { TpmClient } from "../client/tpm-client.ts";

/** NV indices beside those of the endorsement keys (EK Credential Profile 2.5, 2.2.1; Registry of Reserved TPM 2.0 Handles). */
export const NvArea = {
  /** Certificates between those of endorsement keys and their root, one after the other; goes on in the next indices. */
  certificateChain: 0x01c0_0100,
  lastOfChain: 0x01c0_01ff,
  platformCertificate: 0x01c0_8000,
} as const;

/** What the firmware writes once and everybody may read, the way that swtpm_setup has it. */
const attributes =
  NvAttribute.PLATFORMCREATE |
  NvAttribute.PPWRITE |
  NvAttribute.WRITEDEFINE |
  NvAttribute.PPREAD |
  NvAttribute.OWNERREAD |
  NvAttribute.AUTHREAD |
  NvAttribute.NO_DA;

const empty: Uint8Array = new Uint8Array(0);

/** Defines an index under the platform's authorization and writes `content` to it, in pieces; `lock`: nobody writes to it ever again. */
export async function writeArea(
  client: TpmClient,
  nvIndex: number,
  content: Uint8Array,
  lock: boolean,
): Promise<void> {
  const publicInfo: NvPublic = {
    nvIndex,
    nameAlg: Alg.SHA256,
    attributes,
    authPolicy: empty,
    dataSize: content.length,
  };
  await client.run("NV_DefineSpace", { authHandle: Rh.PLATFORM }, { auth: empty, publicInfo });
  const handles = { authHandle: Rh.PLATFORM, nvIndex };
  for (let offset = 0; offset < content.length; offset += Max.NV_BUFFER)
    await client.run("NV_Write", handles, {
      data: content.subarray(offset, offset + Max.NV_BUFFER),
      offset,
    });
  if (lock) await client.run("NV_WriteLock", handles, {});
}

/** All that an index holds. Rejects with `TpmError` where there is none. */
export async function readArea(client: TpmClient, nvIndex: number): Promise<Uint8Array> {
  const { nvPublic } = await client.run("NV_ReadPublic", { nvIndex }, {});
  const content = new Uint8Array(nvPublic.dataSize);
  for (let offset = 0; offset < content.length; offset += Max.NV_BUFFER) {
    const size = Math.min(Max.NV_BUFFER, content.length - offset);
    const { data } = await client.run("NV_Read", { authHandle: nvIndex, nvIndex }, { size, offset });
    content.set(data, offset);
  }
  return content;
}

/** Writes `certificates`, one behind the other, to the indices of the chain. */
export async function writeChain(
  client: TpmClient,
  certificates: readonly Uint8Array[],
  lock: boolean,
): Promise<void> {
  const chain = Buffer.concat(certificates);
  let index: number = NvArea.certificateChain;
  for (let at = 0; at < chain.length; at += Max.NV_INDEX)
    await writeArea(client, index++, chain.subarray(at, at + Max.NV_INDEX), lock);
}
