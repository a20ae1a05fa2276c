import { Alg, noScheme, noSymmetric, ofParameter, Rc } from "@entresol/tpm-types";
import { describe, expect, it } from "vitest";
import { TpmClient } from "../testing/client.ts";

const client = TpmClient.started();
const random = (bytesRequested: number): Uint8Array =>
  client.run("GetRandom", {}, { bytesRequested }).randomBytes;

describe("TPM2_GetRandom", () => {
  it("gives as many bytes as are asked for, up to the longest digest", () => {
    expect([0, 1, 32, 64, 65, 0xffff].map((length) => random(length).length)).toEqual([0, 1, 32, 64, 64, 64]);
  });
  it("gives other bytes each time, with and without bytes from outside stirred in", () => {
    const seen = new Set<string>();
    for (let i = 0; i < 20; i++) {
      if (i === 10) client.run("StirRandom", {}, { inData: new Uint8Array(128) });
      seen.add(Buffer.from(random(64)).toString("hex"));
    }
    expect(seen.size).toBe(20);
  });
  it("StirRandom takes 128 bytes and no more", () => {
    expect(client.rc("StirRandom", {}, { inData: new Uint8Array(129) })).toBe(ofParameter(Rc.SIZE, 1));
  });
});

describe("TPM2_TestParms", () => {
  const rsa = (keyBits: number) => ({
    parameters: {
      type: Alg.RSA,
      parameters: { symmetric: noSymmetric, scheme: noScheme, keyBits, exponent: 0 },
    },
  });
  it("says yes to what the TPM knows", () => {
    expect(client.rc("TestParms", {}, rsa(2048))).toBe(Rc.SUCCESS);
    const sym = { algorithm: Alg.CAMELLIA, keyBits: 192, mode: Alg.CFB, hash: Alg.NULL };
    expect(client.rc("TestParms", {}, { parameters: { type: Alg.SYMCIPHER, parameters: { sym } } })).toBe(
      Rc.SUCCESS,
    );
  });
  it("says no to other sizes, and to RSA-1024 unless it is allowed", () => {
    expect(client.rc("TestParms", {}, rsa(1536))).toBe(ofParameter(Rc.VALUE, 1));
    expect(client.rc("TestParms", {}, rsa(1024))).toBe(ofParameter(Rc.VALUE, 1));
    expect(TpmClient.started({ weakRsa: true }).rc("TestParms", {}, rsa(1024))).toBe(Rc.SUCCESS);
  });
});
