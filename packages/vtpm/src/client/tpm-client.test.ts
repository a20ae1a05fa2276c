import { createServer } from "node:net";
import { Tpm } from "@entresol/tpm";
import {
  Alg,
  Cap,
  Curve,
  type EccPublic,
  type KeyedHashPublic,
  NvAttribute,
  noScheme,
  noSymmetric,
  ObjectAttribute,
  Rc,
  Rh,
  type RsaPublic,
  Su,
  TpmError,
} from "@entresol/tpm-types";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { InlineExecutor } from "../inline-executor.ts";
import { SocketService } from "../socket-service.ts";
import { MemoryStore } from "../state-store.ts";
import { TpmHost } from "../tpm-host.ts";
import { TpmClient } from "./tpm-client.ts";
import { aes128Cfb } from "./tpm-session.ts";
import { connectTpm, inProcess, overExecutor, TpmClientError, type TpmTransport } from "./transport.ts";

const { fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, decrypt } =
  ObjectAttribute;
const none = new Uint8Array(0);
const text = (value: string) => new TextEncoder().encode(value);
const nothing = { userAuth: none, data: none };

const ecc: EccPublic = {
  type: Alg.ECC,
  nameAlg: Alg.SHA256,
  objectAttributes: fixedTPM | fixedParent | sensitiveDataOrigin | userWithAuth | noDA | restricted | decrypt,
  authPolicy: none,
  parameters: {
    symmetric: aes128Cfb,
    scheme: noScheme,
    curveID: Curve.NIST_P256,
    kdf: { scheme: Alg.NULL, hash: Alg.NULL },
  },
  unique: { x: none, y: none },
};
const rsa: RsaPublic = {
  ...ecc,
  type: Alg.RSA,
  parameters: { symmetric: aes128Cfb, scheme: noScheme, keyBits: 2048, exponent: 0 },
  unique: none,
};
const sealed: KeyedHashPublic = {
  type: Alg.KEYEDHASH,
  nameAlg: Alg.SHA256,
  objectAttributes: fixedTPM | fixedParent | userWithAuth | noDA,
  authPolicy: none,
  parameters: { scheme: { scheme: Alg.NULL, hash: Alg.NULL, kdf: Alg.NULL } },
  unique: none,
};
const primary = { outsideInfo: none, creationPCR: [] };

/** Keeps the bytes that pass, and may change a response. */
class Wire implements TpmTransport {
  readonly seen: Uint8Array[] = [];
  change: (response: Uint8Array) => Uint8Array = (response) => response;
  readonly #tpm = new Tpm();

  async send(command: Uint8Array, locality = 0): Promise<Uint8Array> {
    const response = this.#tpm.execute(command, locality);
    this.seen.push(command, response);
    return this.change(response);
  }
  close(): void {}
  saw(secret: string): boolean {
    return this.seen.some((bytes) => Buffer.from(bytes).includes(secret));
  }
}

async function started() {
  const wire = new Wire();
  const client = new TpmClient(wire);
  await client.run("Startup", {}, { startupType: Su.CLEAR });
  return { wire, client };
}

const rejection = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

describe("TpmClient", () => {
  it("runs commands by name and gives their answers by name, response codes as TpmError", async () => {
    const { client } = await started();
    const { randomBytes } = await client.run("GetRandom", {}, { bytesRequested: 12 });
    expect(randomBytes.length).toBe(12);
    const error = await rejection(client.run("ReadPublic", { objectHandle: 0x8000_0009 }, {}));
    expect(error).toBeInstanceOf(TpmError);
    expect((error as TpmError).rc).toBe(0x184) /* TPM_RC_VALUE of handle 1 */;
  });

  it("runs what is asked for at once one after the other, as a session's nonces need it", async () => {
    const { client } = await started();
    const session = await client.startSession();
    const pcrExtend = () =>
      client.run(
        "PCR_Extend",
        { pcrHandle: 10 },
        { digests: [{ hashAlg: Alg.SHA256, digest: new Uint8Array(32) }] },
        { auth: [session] },
      );
    const updates = async () => (await client.run("PCR_Read", {}, { pcrSelectionIn: [] })).pcrUpdateCounter;
    const before = await updates();
    await Promise.all([pcrExtend(), pcrExtend(), pcrExtend()]);
    expect(await updates()).toBe(before + 3);
  });

  it.each([
    ["RSA", rsa],
    ["ECC", ecc],
  ])("encrypts secrets both ways under a session that is salted for an %s key", async (_, template) => {
    const { wire, client } = await started();
    const { handle: parent } = await client.run(
      "CreatePrimary",
      { primaryHandle: Rh.OWNER },
      { inSensitive: nothing, inPublic: template, ...primary },
    );
    const session = await client.startSession({ saltKey: parent });
    const { outPrivate, outPublic } = await client.run(
      "Create",
      { parentHandle: parent },
      {
        inSensitive: { userAuth: text("pass word"), data: text("top secret") },
        inPublic: sealed,
        ...primary,
      },
      { auth: [{ session, encryptCommand: true }] },
    );
    const { handle } = await client.run(
      "Load",
      { parentHandle: parent },
      { inPrivate: outPrivate, inPublic: outPublic },
    );
    const unseal = (auth: string) =>
      client.run("Unseal", { itemHandle: handle }, {}, { auth: [{ session, auth, encryptResponse: true }] });
    expect((await unseal("pass word")).outData).toEqual(text("top secret"));
    expect(((await rejection(unseal("another"))) as TpmError).rc & 0x0bf).toBe(Rc.BAD_AUTH);
    expect(wire.saw("top secret")).toBe(false);
    expect(wire.saw("pass word")).toBe(false);
  });

  it("authorizes by a bound session, and by XOR where the session has that", async () => {
    const { client } = await started();
    const index = 0x0150_0001;
    const publicInfo = {
      nvIndex: index,
      nameAlg: Alg.SHA256,
      attributes: NvAttribute.AUTHWRITE | NvAttribute.AUTHREAD | NvAttribute.NO_DA,
      authPolicy: none,
      dataSize: 8,
    };
    await client.run("NV_DefineSpace", { authHandle: Rh.OWNER }, { auth: text("index"), publicInfo });
    const symmetric = { ...noSymmetric, algorithm: Alg.XOR, hash: Alg.SHA256 };
    const session = await client.startSession({ symmetric, bind: { handle: index, auth: "index" } });
    const handles = { authHandle: index, nvIndex: index };
    await client.run(
      "NV_Write",
      handles,
      { data: text("12345678"), offset: 0 },
      { auth: [{ session, auth: "index", encryptCommand: true }] },
    );
    const { data } = await client.run(
      "NV_Read",
      handles,
      { size: 8, offset: 0 },
      { auth: [{ session, auth: "index", encryptResponse: true, last: true }] },
    );
    expect(data).toEqual(text("12345678"));
    const gone = rejection(client.run("FlushContext", {}, { flushHandle: session.handle }));
    expect(((await gone) as TpmError).rc & 0x0bf).toBe(Rc.HANDLE);
  });

  it("fulfils policies with PolicyAuthValue and PolicyPassword", async () => {
    const { client } = await started();
    for (const command of ["PolicyAuthValue", "PolicyPassword"] as const) {
      const trial = await client.startSession({ kind: "trial" });
      await client.run(command, { policySession: trial.handle }, {});
      const { policyDigest } = await client.run("PolicyGetDigest", { policySession: trial.handle }, {});
      await client.run("FlushContext", {}, { flushHandle: trial.handle });
      const { handle } = await client.run(
        "CreatePrimary",
        { primaryHandle: Rh.OWNER },
        {
          inSensitive: { userAuth: text("pass"), data: text("data") },
          inPublic: { ...sealed, objectAttributes: fixedTPM | fixedParent, authPolicy: policyDigest },
          ...primary,
        },
      );
      const session = await client.startSession({ kind: "policy" });
      await client.run(command, { policySession: session.handle }, {});
      const how =
        command === "PolicyPassword"
          ? { session, auth: "pass", passwordInPolicy: true }
          : { session, auth: "pass", authValueInPolicy: true };
      const { outData } = await client.run("Unseal", { itemHandle: handle }, {}, { auth: [how] });
      expect(outData).toEqual(text("data"));
      await client.run("FlushContext", {}, { flushHandle: session.handle });
      await client.run("FlushContext", {}, { flushHandle: handle });
    }
  });

  it("takes no answer that was changed on its way", async () => {
    const { wire, client } = await started();
    const session = await client.startSession();
    const random = () =>
      client.run("GetRandom", {}, { bytesRequested: 4 }, { auth: [{ session, audit: true }] });
    await random();
    wire.change = (response) => response.with(17, response[17]! ^ 1);
    expect(await rejection(random())).toMatchObject({ name: "TpmClientError", code: "wrong-hmac" });
  });

  it("rejects what is no response with a TpmClientError, whatever the bytes", async () => {
    const { wire, client } = await started();
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 40 }), fc.nat(), async (junk, cut) => {
        wire.change = (response) => (cut % 2 === 0 ? junk : response.subarray(0, cut % response.length));
        expect(
          await rejection(
            client.run("GetCapability", {}, { capability: 6, property: 256, propertyCount: 4 }),
          ),
        ).toMatchObject({ code: "malformed-response" });
      }),
      { numRuns: 200 },
    );
  });
});

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

describe("connectTpm", () => {
  it("reaches a service, and says when it has gone", async () => {
    const host = new TpmHost({ store: new MemoryStore() });
    host.start();
    const service = await SocketService.open({ host, data: { kind: "tcp", port: 0, address: "127.0.0.1" } });
    cleanups.push(() => service.close());
    const client = new TpmClient(
      await connectTpm({ host: "127.0.0.1", port: service.dataAddress as number }),
    );
    cleanups.push(() => client.close());
    await client.run("Startup", {}, { startupType: Su.CLEAR });
    const answers = await Promise.all(
      [1, 2, 3].map((bytesRequested) => client.run("GetRandom", {}, { bytesRequested })),
    );
    expect(answers.map(({ randomBytes }) => randomBytes.length)).toEqual([1, 2, 3]);
    await service.close();
    expect(await rejection(client.run("GetRandom", {}, { bytesRequested: 1 }))).toMatchObject({
      code: "disconnected",
    });
  });

  it("rejects where nobody listens, and where no TPM answers", async () => {
    expect(await rejection(connectTpm({ path: "/nonexistent/socket" }))).toMatchObject({
      code: "disconnected",
    });
    const server = createServer((socket) => socket.on("data", () => socket.write("not a TPM at all")));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    cleanups.push(() => server.close());
    const { port } = server.address() as { port: number };
    const transport = await connectTpm({ host: "127.0.0.1", port });
    cleanups.push(() => transport.close());
    const error = await rejection(transport.send(new Uint8Array(10)));
    expect(error).toBeInstanceOf(TpmClientError);
    expect(error).toMatchObject({ code: "malformed-response" });
    expect(await rejection(transport.send(new Uint8Array(10), 3))).toMatchObject({ code: "unsupported" });
  });

  it.each<[string, (write: (hex: string) => void) => void, string]>([
    ["that says nothing", () => {}, "disconnected"],
    ["that sends a header and nothing behind it", (write) => write("80010000001c00000000"), "disconnected"],
    ["that says a byte now and then", (write) => write("80"), "disconnected"],
    [
      "whose response says that it has no length",
      (write) => write("80010000000000000000"),
      "malformed-response",
    ],
    ["whose response says that it has 4 GiB", (write) => write("8001ffffffff00000000"), "malformed-response"],
    [
      "that answers twice",
      (write) => write("80010000000a0000010080010000000a00000100"),
      "malformed-response",
    ],
    [
      "that counts more than it sends",
      (write) => write("800100000016000000000000000001ffffffff000000"),
      "malformed-response",
    ],
  ])("ends with a server %s", async (_, answer, code) => {
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.on("data", () => {
        answer((hex) => socket.write(Buffer.from(hex, "hex")));
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    cleanups.push(() => server.close());
    const { port } = server.address() as { port: number };
    const client = new TpmClient(
      await connectTpm({ host: "127.0.0.1", port }, code === "disconnected" ? { patience: 30 } : {}),
    );
    cleanups.push(() => client.close());
    const asked = { capability: Cap.HANDLES, property: 0, propertyCount: 1 } as const;
    const errors = [await rejection(client.run("GetCapability", {}, asked))];
    errors.push(await rejection(client.run("GetCapability", {}, asked)));
    expect(errors.map((error) => (error as { code?: string }).code)).toContain(code);
    expect(errors[1]).toBeInstanceOf(TpmClientError);
  });

  it("is not needed for a TPM in the same process", async () => {
    const client = new TpmClient(inProcess(new Tpm()));
    await client.run("Startup", {}, { startupType: Su.CLEAR });
    expect((await client.run("GetTestResult", {}, {})).testResult).toBe(Rc.SUCCESS);
  });
});

describe("overExecutor", () => {
  it("looks again until a command is done, and gives way to a guest's", async () => {
    class Late extends InlineExecutor {
      looks = 0;
      override poll(): Uint8Array | undefined {
        return this.looks++ % 3 < 2 ? undefined : super.poll();
      }
    }
    const executor = new Late(new TpmHost({ store: new MemoryStore() }));
    executor.power(true);
    const client = new TpmClient(overExecutor(executor));
    await client.run("Startup", {}, { startupType: Su.CLEAR });
    expect((await client.run("GetRandom", {}, { bytesRequested: 8 })).randomBytes.length).toBe(8);
    expect(executor.looks).toBe(6);
    executor.start(Uint8Array.from(Buffer.from("80010000000c0000017b0010", "hex")), 0);
    const refused = await rejection(client.run("GetRandom", {}, { bytesRequested: 8 }));
    expect(refused).toMatchObject({ name: "TpmClientError", code: "disconnected" });
    expect(executor.busy).toBe(true);
    executor.power(false);
  });
});
