import {
  Alg,
  absentCommands,
  commandList,
  commands,
  ofHandle,
  ofParameter,
  Rc,
  Rh,
  St,
  Su,
  TpmReader,
  TpmWriter,
} from "@entresol/tpm-types";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { implementedCommands } from "./dispatch.ts";
import { TpmClient } from "./testing/client.ts";
import { Tpm } from "./tpm.ts";

const started = (): Tpm => TpmClient.started().tpm as Tpm;

/** A command's bytes: the size is right unless it is given. */
function bytes(
  tag: number,
  code: number,
  body: Uint8Array | readonly number[] = [],
  size?: number,
): Uint8Array {
  const writer = new TpmWriter().u16(tag).u32(0).u32(code).bytes(Uint8Array.from(body));
  writer.setU32(2, size ?? writer.length);
  return writer.finish();
}
const rcOf = (response: Uint8Array): number => new TpmReader(response, 6).u32();
const { NO_SESSIONS, SESSIONS } = St;
const { GetRandom, PCR_Read, PCR_Extend } = commands;

describe("a command", () => {
  it("of every row of the table is carried out", () => {
    expect([...implementedCommands()].sort()).toEqual(commandList.map(({ name }) => name).sort());
  });

  it("that there is not is TPM_RC_COMMAND_CODE, before start-up too", () => {
    for (const tpm of [new Tpm(), started()])
      for (const code of [...absentCommands.map((row) => row.code), 0, 0x1ff, 0x2000_0000, 0xffff_ffff])
        expect(rcOf(tpm.execute(bytes(NO_SESSIONS, code)))).toBe(Rc.COMMAND_CODE);
  });

  it("of another tag is TPM_RC_BAD_TAG in a response as TPM 1.2 gave it, or TPM_RC_VALUE when it is no tag", () => {
    const tpm = started();
    for (const tag of [St.RSP_COMMAND, St.NULL, St.ATTEST_QUOTE, St.HASHCHECK]) {
      const response = tpm.execute(bytes(tag, GetRandom.code, [0, 8]));
      expect(response).toEqual(Uint8Array.from([0, 0xc4, 0, 0, 0, 10, 0, 0, 0, 0x1e]));
    }
    for (const tag of [0, 0x00c1, 0x8003, 0xffff]) {
      const response = tpm.execute(bytes(tag, GetRandom.code, [0, 8]));
      expect(response).toEqual(Uint8Array.from([0x80, 1, 0, 0, 0, 10, 0, 0, 0, Rc.VALUE]));
    }
  });

  it("whose size is not its length is TPM_RC_COMMAND_SIZE", () => {
    const tpm = started();
    for (const size of [0, 11, 13, 0xffff_ffff])
      expect(rcOf(tpm.execute(bytes(NO_SESSIONS, GetRandom.code, [0, 8], size)))).toBe(Rc.COMMAND_SIZE);
  });

  it("of fewer bytes than a header is TPM_RC_INSUFFICIENT", () => {
    const tpm = started();
    const whole = bytes(NO_SESSIONS, GetRandom.code);
    for (let length = 0; length < 10; length++)
      expect(rcOf(tpm.execute(whole.slice(0, length)))).toBe(Rc.INSUFFICIENT);
  });

  it("with bytes behind its parameters is TPM_RC_SIZE, with too few TPM_RC_INSUFFICIENT of the parameter", () => {
    const tpm = started();
    expect(rcOf(tpm.execute(bytes(NO_SESSIONS, GetRandom.code, [0, 8, 0])))).toBe(Rc.SIZE);
    expect(rcOf(tpm.execute(bytes(NO_SESSIONS, GetRandom.code, [0])))).toBe(ofParameter(Rc.INSUFFICIENT, 1));
    expect(rcOf(tpm.execute(bytes(NO_SESSIONS, PCR_Extend.code, [0, 0])))).toBe(ofHandle(Rc.INSUFFICIENT, 1));
  });

  it("that needs an authorization and has none is TPM_RC_AUTH_MISSING", () => {
    const tpm = started();
    const body = new TpmWriter().u32(16).u32(0).finish();
    expect(rcOf(tpm.execute(bytes(NO_SESSIONS, PCR_Extend.code, body)))).toBe(Rc.AUTH_MISSING);
  });

  it("whose area of sessions is too small or too large for it is TPM_RC_SIZE", () => {
    const tpm = started();
    for (const size of [0, 8, 0xffff, 0xffff_ffff]) {
      const body = new TpmWriter().u32(16).u32(size).u32(Rh.PW).u16(0).u8(1).u16(0).u32(0).finish();
      expect(rcOf(tpm.execute(bytes(SESSIONS, PCR_Extend.code, body)))).toBe(Rc.SIZE);
    }
    expect(rcOf(tpm.execute(bytes(SESSIONS, PCR_Read.code)))).toBe(Rc.INSUFFICIENT);
  });

  it("is answered from a copy: the caller's bytes stay as they are", () => {
    const client = TpmClient.started();
    const session = client.session();
    const command = bytes(
      NO_SESSIONS,
      commands.FlushContext.code,
      new TpmWriter().u32(session.handle).finish(),
    );
    const before = command.slice();
    client.tpm.execute(command);
    expect(command).toEqual(before);
  });

  it("of any bytes has a whole response, and the TPM goes on", () => {
    const tpm = started();
    const body = fc.uint8Array({ maxLength: 120 });
    const code = fc.oneof(fc.constantFrom(...commandList.map((row) => row.code)), fc.nat());
    const handle = fc.constantFrom(
      0,
      16,
      0x0150_0000,
      0x0200_0000,
      0x0300_0000,
      Rh.OWNER,
      Rh.NULL,
      0x8000_0000,
    );
    fc.assert(
      fc.property(
        fc.constantFrom(NO_SESSIONS, SESSIONS),
        code,
        fc.array(handle, { maxLength: 3 }),
        fc.boolean(),
        body,
        (tag, commandCode, handles, password, rest) => {
          const writer = new TpmWriter();
          for (const value of handles) writer.u32(value);
          if (tag === SESSIONS && password) writer.u32(9).u32(Rh.PW).u16(0).u8(1).u16(0);
          writer.bytes(rest);
          const response = tpm.execute(bytes(tag, commandCode, writer.finish()));
          expect(new TpmReader(response, 2).u32()).toBe(response.length);
          expect(tpm.failed).toBe(false);
          if (commandCode === commands.Shutdown.code) return;
          // Whatever was done, hashing goes on.
          const hash = bytes(NO_SESSIONS, commands.Hash.code, [0, 0, 0, Alg.SHA256, 0x40, 0, 0, 7]);
          expect(rcOf(tpm.execute(hash))).toBe(Rc.SUCCESS);
        },
      ),
      { numRuns: 500 },
    );
  });

  it("at a locality of any number has an answer", () => {
    const tpm = new Tpm();
    for (const locality of [5, 31, 32, 255, 256, -1, Number.NaN])
      expect(rcOf(tpm.execute(bytes(NO_SESSIONS, commands.Startup.code, [0, Su.CLEAR]), locality))).toBe(
        Rc.LOCALITY,
      );
    expect(tpm.failed).toBe(false);
  });
});
