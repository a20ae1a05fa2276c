import { Alg, Cap, NvAttribute, ofHandle, ofParameter, Rc, Rh, Su } from "@entresol/tpm-types";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CLOCK_UPDATE } from "../clock.ts";
import { decodePermanent } from "../saved-state.ts";
import { TpmClient } from "../testing/client.ts";
import { Tpm } from "../tpm.ts";

/** A TPM with a time that goes by hand, and a store from which it can begin again. */
function bench() {
  let now = 0;
  let kept: Uint8Array | undefined;
  let commits = 0;
  const store = {
    commit(bytes: Uint8Array): void {
      kept = bytes.slice();
      commits++;
    },
  };
  const powered = (): Tpm =>
    new Tpm({ store, now: () => now, ...(kept === undefined ? {} : { permanent: kept }) });
  let client = new TpmClient(powered());
  client.run("Startup", {}, { startupType: Su.CLEAR });
  return {
    commits: () => commits,
    kept: () => decodePermanent(kept!),
    client: () => client,
    pass(milliseconds: number): void {
      now += milliseconds;
    },
    read: () => client.run("ReadClock", {}, {}).currentTime,
    set: (newTime: bigint): number => client.rc("ClockSet", { auth: Rh.OWNER }, { newTime }),
    adjust: (rateAdjust: number): number =>
      client.rc("ClockRateAdjust", { auth: Rh.PLATFORM }, { rateAdjust }),
    restart(shutdownType: number | undefined, startupType: number = Su.CLEAR): void {
      if (shutdownType !== undefined) client.run("Shutdown", {}, { shutdownType });
      client = new TpmClient(powered());
      client.run("Startup", {}, { startupType });
    },
    timeout: (number: number, startTimeout: number): number =>
      client.rc("ACT_SetTimeout", { actHandle: Rh.ACT_0 + number }, { startTimeout }),
    /** Seconds to go of timer 0, and whether it signals. */
    timer(): { timeout: number; signaled: boolean } {
      const { data } = client.run(
        "GetCapability",
        {},
        { capability: Cap.ACT, property: Rh.ACT_0, propertyCount: 1 },
      ).capabilityData;
      const { timeout, attributes } = data[0] as { timeout: number; attributes: number };
      return { timeout, signaled: (attributes & 1) !== 0 };
    },
  };
}
const UPDATE = BigInt(CLOCK_UPDATE);

describe("Time and Clock", () => {
  it("go by milliseconds; Time begins with power, Clock goes on", () => {
    const { pass, read, restart } = bench();
    pass(1500);
    expect(read()).toMatchObject({
      time: 1500n,
      clockInfo: { clock: 1500n, resetCount: 1, restartCount: 0 },
    });
    restart(Su.CLEAR);
    pass(10);
    expect(read()).toMatchObject({ time: 10n, clockInfo: { clock: 1510n, resetCount: 2, safe: true } });
  });

  it("do not go back with a time source that does", () => {
    const { pass, read } = bench();
    pass(1000);
    expect(read().time).toBe(1000n);
    pass(-700);
    expect(read().time).toBe(1000n);
    pass(700);
    expect(read().time).toBe(1000n);
    pass(1);
    expect(read().time).toBe(1001n);
  });

  it("are written down each time that Clock passes a multiple of TPM_PT_CLOCK_UPDATE", () => {
    const { pass, read, commits, kept } = bench();
    const before = commits();
    pass(CLOCK_UPDATE - 1);
    read();
    expect(commits()).toBe(before);
    pass(1);
    read();
    expect(commits()).toBe(before + 1);
    expect(kept().clock).toBe(UPDATE);
    pass(3 * CLOCK_UPDATE);
    read();
    expect(commits()).toBe(before + 2);
  });

  it("are not safe after power was lost, until Clock has passed what it could have told before", () => {
    const { pass, read, restart } = bench();
    pass(CLOCK_UPDATE + 3000);
    expect(read().clockInfo).toMatchObject({ clock: UPDATE + 3000n, safe: true });
    restart(undefined);
    expect(read().clockInfo).toMatchObject({ clock: UPDATE + 3000n, safe: false });
    pass(500);
    read();
    // An orderly shutdown does not make it true.
    restart(Su.CLEAR);
    expect(read().clockInfo.safe).toBe(false);
    pass(CLOCK_UPDATE);
    expect(read().clockInfo.safe).toBe(true);
  });

  it("never tell a safe Clock that is not later than all before", () => {
    const step = fc.tuple(fc.constantFrom("lose power", "shut down", "go on"), fc.nat({ max: 9000 }));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        const { pass, read, restart } = bench();
        let latest = -1n;
        for (const [name, milliseconds] of steps) {
          if (name === "lose power") restart(undefined);
          if (name === "shut down") restart(Su.CLEAR);
          pass(milliseconds);
          const { clock, safe } = read().clockInfo;
          if (safe) expect(clock).toBeGreaterThanOrEqual(latest);
          if (clock > latest) latest = clock;
        }
      }),
      { numRuns: 100 },
    );
  });
});

describe("TPM2_ClockSet", () => {
  it("sets Clock forward only, and no further than 0xffff000000000000", () => {
    const { pass, read, set } = bench();
    pass(100);
    const wrong = ofParameter(Rc.VALUE, 1);
    expect(set(99n)).toBe(wrong);
    expect(set(100n)).toBe(Rc.SUCCESS);
    expect(set(123_456n)).toBe(Rc.SUCCESS);
    expect(read()).toMatchObject({ time: 100n, clockInfo: { clock: 123_456n } });
    expect(set(0xffff_0000_0000_0001n)).toBe(wrong);
    expect(set(0xffff_0000_0000_0000n)).toBe(Rc.SUCCESS);
  });

  it("is written down at once, and makes Clock safe when it passes a multiple", () => {
    const { set, kept, read, restart } = bench();
    restart(undefined);
    set(1n);
    expect(kept().clock).toBe(1n);
    expect(read().clockInfo.safe).toBe(false);
    set(UPDATE);
    expect(read().clockInfo.safe).toBe(true);
  });
});

describe("TPM2_ClockRateAdjust", () => {
  it("makes Time and Clock faster and slower in three steps that add up, within a sixth", () => {
    const elapsed = (...steps: readonly number[]): bigint => {
      const { pass, read, adjust } = bench();
      for (const step of steps) expect(adjust(step)).toBe(Rc.SUCCESS);
      pass(30_000);
      const { time, clockInfo } = read();
      expect(clockInfo.clock).toBe(time);
      return time;
    };
    expect([-3, -2, -1, 0, 1, 2, 3].map((step) => elapsed(step))).toEqual([
      29_700n,
      29_970n,
      29_999n,
      30_000n,
      30_001n,
      30_030n,
      30_300n,
    ]);
    expect(elapsed(3, 3, -2)).toBe(30_570n);
    expect(elapsed(...Array.from({ length: 30 }, () => 3))).toBe(35_000n);
    expect(elapsed(...Array.from({ length: 30 }, () => -3))).toBe(25_000n);
  });

  it("keeps the parts of a millisecond", () => {
    const { pass, read, adjust } = bench();
    adjust(1);
    for (let i = 0; i < 30; i++) {
      pass(1000);
      read();
    }
    expect(read().time).toBe(30_001n);
  });

  it("knows no fourth step", () => {
    const { adjust } = bench();
    expect(adjust(4)).toBe(ofParameter(Rc.VALUE, 1));
    expect(adjust(-4)).toBe(ofParameter(Rc.VALUE, 1));
  });
});

describe("an authenticated countdown timer", () => {
  const NEVER = 0xffff_ffff;
  it("counts seconds down, and signals when they are out", () => {
    const { pass, timeout, timer } = bench();
    expect(timer()).toEqual({ timeout: 0, signaled: false });
    expect(timeout(0, 3)).toBe(Rc.SUCCESS);
    pass(2000);
    expect(timer()).toEqual({ timeout: 1, signaled: false });
    pass(1000);
    expect(timer()).toEqual({ timeout: 0, signaled: true });
    pass(5000);
    expect(timer()).toEqual({ timeout: 0, signaled: true });
  });

  it("is silent once it is set again, and signals at once when it is set to zero while it runs", () => {
    const { pass, timeout, timer } = bench();
    timeout(0, 0);
    expect(timer()).toEqual({ timeout: 0, signaled: false });
    timeout(0, 1);
    pass(1000);
    timeout(0, 20);
    expect(timer()).toEqual({ timeout: 20, signaled: false });
    timeout(0, 0);
    expect(timer()).toEqual({ timeout: 0, signaled: true });
  });

  it("that signals can be turned off, and then does not run", () => {
    const { pass, timeout, timer } = bench();
    expect(timeout(0, NEVER)).toBe(ofParameter(Rc.VALUE, 1));
    timeout(0, 1);
    expect(timeout(0, NEVER)).toBe(ofParameter(Rc.VALUE, 1));
    pass(1000);
    expect(timeout(0, NEVER)).toBe(Rc.SUCCESS);
    pass(10_000);
    expect(timer()).toEqual({ timeout: NEVER, signaled: false });
  });

  it("is one of two, each by itself", () => {
    const { timeout, timer } = bench();
    expect(timeout(1, 5)).toBe(Rc.SUCCESS);
    expect(timer().timeout).toBe(0);
    expect(timeout(2, 5)).toBe(ofHandle(Rc.VALUE, 1));
  });

  it("goes on after a Resume, with half the time when it was not set since", () => {
    const { pass, timeout, timer, restart } = bench();
    timeout(0, 100);
    restart(Su.STATE, Su.STATE);
    expect(timer().timeout).toBe(100);
    restart(Su.STATE, Su.STATE);
    expect(timer().timeout).toBe(50);
    timeout(0, 7);
    restart(Su.STATE, Su.STATE);
    expect(timer().timeout).toBe(7);
    pass(7000);
    expect(timer().signaled).toBe(true);
    restart(Su.STATE, Su.STATE);
    expect(timer()).toEqual({ timeout: 0, signaled: true });
    restart(Su.STATE, Su.CLEAR);
    expect(timer()).toEqual({ timeout: 0, signaled: false });
  });
});

describe("protection against dictionary attacks", () => {
  const nvIndex = 0x0100_0001;
  const none = new Uint8Array(0);
  /** A TPM with a protected index, and what a try at it answers. */
  function attacked(maxTries: number, recoveryTime: number, lockoutRecovery: number) {
    const all = bench();
    const { client } = all;
    const attributes = NvAttribute.AUTHREAD | NvAttribute.AUTHWRITE;
    const publicInfo = { nvIndex, nameAlg: Alg.SHA256, attributes, authPolicy: none, dataSize: 1 };
    const parameters = (
      newMaxTries: number,
      newRecoveryTime: number,
      recovery: number,
      auth = "secret",
    ): number =>
      client().rc(
        "DictionaryAttackParameters",
        { lockHandle: Rh.LOCKOUT },
        { newMaxTries, newRecoveryTime, lockoutRecovery: recovery },
        { auth: [auth] },
      );
    client().run("NV_DefineSpace", { authHandle: Rh.OWNER }, { auth: Uint8Array.of(1), publicInfo });
    client().run(
      "HierarchyChangeAuth",
      { authHandle: Rh.LOCKOUT },
      { newAuth: new TextEncoder().encode("secret") },
    );
    expect(parameters(maxTries, recoveryTime, lockoutRecovery)).toBe(Rc.SUCCESS);
    return {
      ...all,
      parameters,
      attempt: (auth: number): number =>
        client().rc(
          "NV_Write",
          { authHandle: nvIndex, nvIndex },
          { data: none, offset: 0 },
          { auth: [Uint8Array.of(auth)] },
        ),
      reset: (auth = "secret"): number =>
        client().rc("DictionaryAttackLockReset", { lockHandle: Rh.LOCKOUT }, {}, { auth: [auth] }),
      failures(): number {
        all.read();
        return all.kept().failedTries;
      },
    };
  }
  const wrong = 0x98e;

  it("locks after so many failures, also what is right, and counts no more", () => {
    const { attempt, failures } = attacked(2, 100, 100);
    expect([attempt(9), attempt(1), attempt(9)]).toEqual([wrong, Rc.SUCCESS, wrong]);
    expect([attempt(1), attempt(9)]).toEqual([Rc.LOCKOUT, Rc.LOCKOUT]);
    expect(failures()).toBe(2);
  });

  it("has every failure written down before it is answered, so that power changes nothing", () => {
    const { attempt, restart, failures } = attacked(3, 100, 100);
    for (let i = 1; i <= 3; i++) {
      attempt(9);
      expect(failures()).toBe(i);
      restart(undefined);
    }
    expect(attempt(1)).toBe(Rc.LOCKOUT);
  });

  it("forgets one failure in each recovery time without a new one", () => {
    const { attempt, pass, failures } = attacked(5, 100, 100);
    for (let i = 0; i < 4; i++) attempt(9);
    pass(99_999);
    expect(failures()).toBe(4);
    attempt(9);
    pass(99_999);
    expect(failures()).toBe(5);
    expect(attempt(1)).toBe(Rc.LOCKOUT);
    pass(1);
    expect(failures()).toBe(4);
    pass(250_000);
    expect(failures()).toBe(2);
    pass(50_000);
    expect(failures()).toBe(1);
    pass(10_000_000);
    expect(failures()).toBe(0);
  });

  it("forgets nothing while there is no power", () => {
    const { attempt, pass, restart, failures } = attacked(5, 100, 100);
    attempt(9);
    pass(99_000);
    restart(Su.CLEAR);
    pass(99_000);
    expect(failures()).toBe(1);
    pass(1000);
    expect(failures()).toBe(0);
  });

  it("is off without a recovery time", () => {
    const { attempt, parameters, failures } = attacked(1, 100, 100);
    attempt(9);
    expect(attempt(1)).toBe(Rc.LOCKOUT);
    parameters(1, 0, 100);
    expect(failures()).toBe(0);
    for (let i = 0; i < 5; i++) expect(attempt(9)).toBe(wrong);
    expect(attempt(1)).toBe(Rc.SUCCESS);
  });

  it("is reset by lockoutAuth, which is itself tried once in its recovery time", () => {
    const { attempt, reset, pass } = attacked(1, 100, 50);
    attempt(9);
    expect(reset()).toBe(Rc.SUCCESS);
    expect(attempt(1)).toBe(Rc.SUCCESS);
    expect(reset("guess")).toBe(wrong);
    expect(reset()).toBe(Rc.LOCKOUT);
    pass(49_999);
    expect(reset()).toBe(Rc.LOCKOUT);
    pass(1);
    expect(reset()).toBe(Rc.SUCCESS);
  });

  it("with a lockout recovery time of zero needs a start-up for lockoutAuth, and only then", () => {
    const never = attacked(1, 100, 0);
    expect(never.reset("guess")).toBe(wrong);
    never.pass(1e9);
    expect(never.reset()).toBe(Rc.LOCKOUT);
    never.restart(undefined);
    expect(never.reset()).toBe(Rc.SUCCESS);
    const timed = attacked(1, 100, 50);
    timed.reset("guess");
    timed.restart(Su.CLEAR);
    expect(timed.reset()).toBe(Rc.LOCKOUT);
    timed.pass(50_000);
    expect(timed.reset()).toBe(Rc.SUCCESS);
  });

  it("with no tries at all lets nothing be tried", () => {
    const { attempt } = attacked(0, 100, 100);
    expect(attempt(1)).toBe(Rc.LOCKOUT);
  });
});
