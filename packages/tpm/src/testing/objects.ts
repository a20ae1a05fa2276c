import { createHash } from "node:crypto";
import { Alg, type Public, Rc, Rh, TPMT_PUBLIC, TpmError, TpmWriter, type Type } from "@entresol/tpm-types";
import { concat, u16 } from "../engine.ts";
import type { TpmClient } from "./client.ts";
import { sensitiveCreate } from "./templates.ts";

/* What tests of objects do again and again. */

const empty: Uint8Array = new Uint8Array(0);
export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

export function marshal<T>(type: Type<T>, value: T): Uint8Array {
  const writer = new TpmWriter();
  type.write(writer, value);
  return writer.finish();
}
export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(
    createHash("sha256")
      .update(concat(...parts))
      .digest(),
  );
}
export function nameOf(publicArea: Public): Uint8Array {
  return concat(u16(Alg.SHA256), sha256(marshal(TPMT_PUBLIC, publicArea)));
}

export interface Making {
  readonly auth?: string;
  readonly data?: Uint8Array | string;
  readonly hierarchy?: number;
}
export function createPrimary(
  client: TpmClient,
  inPublic: Public,
  { auth, data, hierarchy = Rh.OWNER }: Making = {},
) {
  const parameters = {
    inSensitive: sensitiveCreate(auth, data),
    inPublic,
    outsideInfo: empty,
    creationPCR: [],
  };
  return client.run("CreatePrimary", { primaryHandle: hierarchy }, parameters);
}
export function create(
  client: TpmClient,
  parentHandle: number,
  inPublic: Public,
  { auth, data }: Making = {},
) {
  const parameters = {
    inSensitive: sensitiveCreate(auth, data),
    inPublic,
    outsideInfo: empty,
    creationPCR: [],
  };
  return client.run("Create", { parentHandle }, parameters);
}
export function createRc(client: TpmClient, parentHandle: number, inPublic: Public, making?: Making): number {
  try {
    create(client, parentHandle, inPublic, making);
    return Rc.SUCCESS;
  } catch (error) {
    if (error instanceof TpmError) return error.rc;
    throw error;
  }
}
export function load(
  client: TpmClient,
  parentHandle: number,
  made: { outPrivate: Uint8Array; outPublic: Public },
) {
  return client.run("Load", { parentHandle }, { inPrivate: made.outPrivate, inPublic: made.outPublic })
    .handle;
}
export function flush(client: TpmClient, flushHandle: number): void {
  client.run("FlushContext", {}, { flushHandle });
}
