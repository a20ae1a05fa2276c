import { createHash } from "node:crypto";
import {
  Alg,
  Cap,
  commands,
  Eo,
  implementedAlgorithms,
  ofParameter,
  Pt,
  Rc,
  Rh,
  Su,
} from "@entresol/tpm-types";
import { describe, expect, test } from "vitest";
import { concat, u16, u32, u64 } from "../engine.ts";
import { TpmClient } from "../testing/client.ts";
import { Tpm } from "../tpm.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const sha256 = (...parts: Uint8Array[]): Uint8Array =>
  new Uint8Array(
    createHash("sha256")
      .update(concat(...parts))
      .digest(),
  );
const empty = new Uint8Array(0);
const zero = new Uint8Array(32);

function withSession(kind: "policy" | "trial" = "policy") {
  const clock = { now: 0 };
  const client = new TpmClient(new Tpm({ now: () => clock.now }));
  client.run("Startup", {}, { startupType: Su.CLEAR });
  const policySession = client.session({ kind }).handle;
  const digest = (): Uint8Array => client.run("PolicyGetDigest", { policySession }, {}).policyDigest;
  return { clock, client, policySession, digest };
}

describe("TPM2_PolicyCounterTimer", () => {
  const rc = (
    { client, policySession }: ReturnType<typeof withSession>,
    operandB: Uint8Array,
    offset: number,
    operation: number,
  ): number => client.rc("PolicyCounterTimer", { policySession }, { operandB, offset, operation });

  test("in a trial session gives the digest that every TPM gives", () => {
    const fixture = withSession("trial");
    expect(rc(fixture, new Uint8Array(8), 0, Eo.UNSIGNED_LE)).toBe(Rc.SUCCESS);
    expect(hex(fixture.digest())).toBe("7d2427137fa200ceb9eaffaad214c78c1f9b039750242520b68c69dd400ab936");
  });

  test("holds or not by the time since power-on", () => {
    const fixture = withSession();
    fixture.clock.now = 5000;
    expect(rc(fixture, u64(5000n), 0, Eo.EQ)).toBe(Rc.SUCCESS);
    expect(rc(fixture, u64(5000n), 0, Eo.UNSIGNED_GT)).toBe(Rc.POLICY);
    expect(rc(fixture, u64(4999n), 0, Eo.UNSIGNED_GT)).toBe(Rc.SUCCESS);
    fixture.clock.now = 6000;
    expect(rc(fixture, u64(5000n), 0, Eo.UNSIGNED_GT)).toBe(Rc.SUCCESS);
  });

  test("holds by resetCount, restartCount and safe, which come behind Time and Clock", () => {
    const fixture = withSession();
    const { currentTime } = fixture.client.run("ReadClock", {}, {});
    const { resetCount, restartCount, safe } = currentTime.clockInfo;
    expect(rc(fixture, u32(resetCount), 16, Eo.EQ)).toBe(Rc.SUCCESS);
    expect(rc(fixture, u32(restartCount), 20, Eo.EQ)).toBe(Rc.SUCCESS);
    expect(rc(fixture, Uint8Array.of(safe ? 1 : 0), 24, Eo.EQ)).toBe(Rc.SUCCESS);
    expect(rc(fixture, u32(resetCount), 16, Eo.NEQ)).toBe(Rc.POLICY);
  });

  test.each(["policy", "trial"] as const)("stays within the structure, in a %s session", (kind) => {
    const fixture = withSession(kind);
    expect(rc(fixture, empty, 26, Eo.EQ)).toBe(ofParameter(Rc.VALUE, 2));
    expect(rc(fixture, empty, 0xffff, Eo.EQ)).toBe(ofParameter(Rc.VALUE, 2));
    expect(rc(fixture, u64(0n), 18, Eo.EQ)).toBe(Rc.RANGE);
    expect(rc(fixture, new Uint8Array(26), 0, Eo.EQ)).toBe(Rc.RANGE);
    expect(rc(fixture, empty, 25, Eo.EQ)).toBe(Rc.SUCCESS);
    expect(rc(fixture, empty, 0, 12)).toBe(ofParameter(Rc.VALUE, 3));
  });
});

describe("TPM2_PolicyCapability", () => {
  const rc = (
    { client, policySession }: ReturnType<typeof withSession>,
    capability: number,
    property: number,
    operandB: Uint8Array,
    offset = 0,
    operation: number = Eo.EQ,
  ): number =>
    client.rc("PolicyCapability", { policySession }, { operandB, offset, operation, capability, property });

  test("takes operand, offset, operation, capability and property into the digest", () => {
    for (const kind of ["policy", "trial"] as const) {
      const fixture = withSession(kind);
      const operand = u32(Pt.LEVEL);
      expect(rc(fixture, Cap.TPM_PROPERTIES, Pt.LEVEL, operand)).toBe(Rc.SUCCESS);
      const argument = sha256(operand, u16(0), u16(Eo.EQ), u32(Cap.TPM_PROPERTIES), u32(Pt.LEVEL));
      expect(fixture.digest()).toEqual(sha256(zero, u32(commands.PolicyCapability.code), argument));
    }
  });

  test("compares the one element that the property names", () => {
    const fixture = withSession();
    // TPM_PT_LEVEL is 0: an element is the property and its value.
    expect(rc(fixture, Cap.TPM_PROPERTIES, Pt.LEVEL, u32(0), 4)).toBe(Rc.SUCCESS);
    expect(rc(fixture, Cap.TPM_PROPERTIES, Pt.LEVEL, u32(1), 4)).toBe(Rc.POLICY);
    const rsa = implementedAlgorithms.find(({ id }) => id === Alg.RSA)!;
    expect(rc(fixture, Cap.ALGS, Alg.RSA, concat(u16(Alg.RSA), u32(rsa.attributes)))).toBe(Rc.SUCCESS);
    expect(rc(fixture, Cap.HANDLES, Rh.OWNER, u32(Rh.OWNER))).toBe(Rc.SUCCESS);
    expect(rc(fixture, Cap.ECC_CURVES, 3, u16(3))).toBe(Rc.SUCCESS);
    const code = commands.Clear.code;
    expect(rc(fixture, Cap.COMMANDS, code, u16(code), 2)).toBe(Rc.SUCCESS);
    expect(rc(fixture, Cap.AUTH_POLICIES, Rh.OWNER, concat(u32(Rh.OWNER), u16(Alg.NULL)))).toBe(Rc.SUCCESS);
    expect(rc(fixture, Cap.ACT, Rh.ACT_0, concat(u32(Rh.ACT_0), u32(0)))).toBe(Rc.SUCCESS);
    expect(rc(fixture, Cap.PCR_PROPERTIES, 0, concat(u32(0), Uint8Array.of(3)))).toBe(Rc.SUCCESS);
  });

  test("finds what does not exist unequal, and nothing else", () => {
    const fixture = withSession();
    for (const [name, operation] of Object.entries(Eo)) {
      const expected = name === "NEQ" ? Rc.SUCCESS : Rc.POLICY;
      expect(rc(fixture, Cap.ALGS, Alg.SM4, empty, 0, operation)).toBe(expected);
      expect(rc(fixture, Cap.COMMANDS, 0x1ff, empty, 0, operation)).toBe(expected);
      expect(rc(fixture, Cap.HANDLES, 0x8000_0000, empty, 0, operation)).toBe(expected);
      expect(rc(fixture, Cap.AUDIT_COMMANDS, commands.Clear.code, empty, 0, operation)).toBe(expected);
    }
  });

  test("stays within the element", () => {
    const fixture = withSession();
    expect(rc(fixture, Cap.ECC_CURVES, 3, empty, 3)).toBe(ofParameter(Rc.VALUE, 2));
    expect(rc(fixture, Cap.ECC_CURVES, 3, u16(3), 1)).toBe(ofParameter(Rc.SIZE, 1));
    expect(rc(fixture, Cap.ECC_CURVES, 3, u32(3))).toBe(ofParameter(Rc.SIZE, 1));
    expect(rc(fixture, Cap.ECC_CURVES, 3, empty, 2)).toBe(Rc.SUCCESS);
  });

  test("refuses what has no elements of its own", () => {
    const fixture = withSession();
    expect(rc(fixture, Cap.PCRS, 0, empty)).toBe(ofParameter(Rc.VALUE, 4));
    expect(rc(fixture, 0x63, 0, empty)).toBe(ofParameter(Rc.VALUE, 4));
    expect(rc(fixture, Cap.HANDLES, 0x5500_0000, empty)).toBe(ofParameter(Rc.HANDLE, 5));
    expect(rc(fixture, Cap.AUTH_POLICIES, 0x0100_0000, empty)).toBe(ofParameter(Rc.VALUE, 5));
    expect(rc(fixture, Cap.ACT, Rh.OWNER, empty)).toBe(ofParameter(Rc.VALUE, 5));
  });
});
