import { describe, expect, it } from "vitest";
import { ofHandle, ofParameter, ofSession, Rc, responseCodeName, TpmError } from "./index.ts";

describe("a response code", () => {
  it("has one name", () => {
    const codes = Object.values(Rc);
    expect(new Set(codes).size).toBe(codes.length);
    for (const [name, rc] of Object.entries(Rc))
      if (!name.startsWith("REFERENCE")) expect(responseCodeName(rc)).toBe(`TPM_RC_${name}`);
  });

  it("of format one says of what it is: handle, parameter or session, by number", () => {
    // The forms that Part 2, 6.6 draws: number in bits 11:8, bit 6 for parameters, bit 11 for sessions.
    expect([ofHandle(Rc.VALUE, 1), ofHandle(Rc.VALUE, 7)]).toEqual([0x184, 0x784]);
    expect([ofParameter(Rc.VALUE, 1), ofParameter(Rc.SIZE, 15)]).toEqual([0x1c4, 0xfd5]);
    expect([ofSession(Rc.AUTH_FAIL, 1), ofSession(Rc.BAD_AUTH, 2)]).toEqual([0x98e, 0xaa2]);
  });

  it("of format zero stays as it is", () => {
    for (const rc of [Rc.FAILURE, Rc.NV_LOCKED, Rc.LOCALITY, Rc.RETRY])
      expect([ofHandle(rc, 1), ofParameter(rc, 2), ofSession(rc, 3)]).toEqual([rc, rc, rc]);
  });

  it.each([
    [0x1c4, "TPM_RC_VALUE of parameter 1"],
    [0x184, "TPM_RC_VALUE of handle 1"],
    [0x98e, "TPM_RC_AUTH_FAIL of session 1"],
    [0x101, "TPM_RC_FAILURE"],
    [0x910, "TPM_RC_REFERENCE_H0"],
    [0x912, "TPM_RC_REFERENCE_H2"],
    [0x91a, "TPM_RC_REFERENCE_S2"],
    [0x1fe, "0xbe of parameter 1"],
    [0x07f, "0x07f"],
  ])("%i is %s for people", (rc, name) => {
    expect(responseCodeName(rc)).toBe(name);
  });

  it("that ends a command is thrown with its name and without a trace", () => {
    const before = Error.stackTraceLimit;
    const error = new TpmError(0x1c4);
    expect([error.rc, error.message, error.name]).toEqual([0x1c4, "TPM_RC_VALUE of parameter 1", "TpmError"]);
    expect(error.stack).not.toContain("response-codes");
    expect(Error.stackTraceLimit).toBe(before);
  });
});
