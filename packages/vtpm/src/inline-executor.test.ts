import { TpmStateError } from "@entresol/tpm";
import { describe, expect, it } from "vitest";
import { InlineExecutor } from "./inline-executor.ts";
import { MemoryStore } from "./state-store.ts";
import { raw } from "./testing/loopback-client.ts";
import { bytes } from "./testing/register-guest.ts";
import { type HostOptions, TpmHost } from "./tpm-host.ts";

const newExecutor = (options: Partial<HostOptions> = {}): InlineExecutor => {
  const executor = new InlineExecutor(
    new TpmHost({ store: new MemoryStore(), tpm: { now: () => 0 }, ...options }),
  );
  executor.power(true);
  return executor;
};
const run = (executor: InlineExecutor, command: string, locality = 0): string => {
  executor.start(bytes(command), locality);
  return Buffer.from(executor.finish() ?? []).toString("hex");
};
const initialize = "80010000000a00000100";

describe("InlineExecutor", () => {
  it("has the response at once, and gives it once", () => {
    const executor = newExecutor();
    expect(executor.busy).toBe(false);
    executor.start(bytes(raw.startupClear), 0);
    expect(executor.busy).toBe(true);
    // A second command while one waits to be taken does not run.
    executor.start(bytes(raw.readPcr16), 0);
    executor.cancel();
    expect(Buffer.from(executor.poll() ?? []).toString("hex")).toBe("80010000000a00000000");
    expect(executor.poll()).toBeUndefined();
    expect(executor.finish()).toBeUndefined();
  });

  it("answers without power as a TPM that was not started, and power that comes twice is a reset", () => {
    const executor = newExecutor();
    run(executor, raw.startupClear);
    executor.power(true);
    expect(run(executor, raw.readPcr16)).toBe(initialize);
    executor.power(false);
    expect(executor.powered).toBe(false);
    expect(run(executor, raw.startupClear)).toBe(initialize);
  });

  it("runs commands at their locality", () => {
    const executor = newExecutor();
    run(executor, raw.startupClear);
    // TPM2_PCR_Reset of PCR 20: locality 2 may, 0 may not (TPM_RC_LOCALITY).
    const reset = "80020000001b0000013d000000140000000940000009000000" + "0000";
    expect(run(executor, reset, 0).slice(12, 20)).toBe("00000907");
    expect(run(executor, reset, 2).slice(12, 20)).toBe("00000000");
  });

  it("sets tpmEstablished by a measurement with power, keeps it over a reset, and takes it back from 3 and 4", () => {
    const executor = newExecutor();
    executor.hashEnd();
    expect(executor.established).toBe(false);
    executor.hashStart();
    executor.hashData(bytes("616263"));
    executor.hashEnd();
    executor.power(true);
    expect(executor.established).toBe(true);
    expect([0, 1, 2].map((locality) => executor.resetEstablished(locality))).toEqual([false, false, false]);
    expect([executor.resetEstablished(3), executor.established]).toEqual([true, false]);
  });

  it.each([
    ["in the clear", {}],
    ["under a migration key", { migrationKey: new Uint8Array(32).fill(7) }],
  ])("goes on in another machine from its state, %s", (_, options: Partial<HostOptions>) => {
    const executor = newExecutor(options);
    executor.setBufferSize(0xf80);
    run(executor, raw.startupClear);
    run(executor, raw.extendPcr16);
    const pcr = run(executor, raw.readPcr16);
    executor.start(bytes(raw.readPcr16), 0);
    const state = executor.save();
    const copy = newExecutor(options);
    copy.restore(state);
    expect(copy.bufferSize).toBe(0xf80);
    expect(Buffer.from(copy.finish() ?? []).toString("hex")).toBe(pcr);
    expect(run(copy, raw.readPcr16)).toBe(pcr);
    expect(copy.save().response).toBeUndefined();
    // And the one that was saved does, too.
    executor.finish();
    expect(run(executor, raw.readPcr16)).toBe(pcr);
  });

  it("saves without an end: a machine that goes on is shut down in order when its power goes", () => {
    const executor = newExecutor();
    run(executor, raw.startupClear);
    run(executor, raw.extendPcr16);
    executor.save();
    executor.power(true);
    run(executor, raw.startupClear);
    // TPM_PT_STARTUP_CLEAR: bit 31 is orderly.
    const response = run(executor, "8001000000160000017a000000060000020100000001");
    expect(Number.parseInt(response.slice(46, 54), 16) >>> 31).toBe(1);
  });

  it("refuses a state that is none, and is as it was", () => {
    const executor = newExecutor();
    run(executor, raw.startupClear);
    run(executor, raw.extendPcr16);
    const pcr = run(executor, raw.readPcr16);
    const state = executor.save();
    const broken = state.volatile!.slice();
    broken[broken.length - 1]! ^= 1;
    for (const bad of [
      { ...state, volatile: broken },
      { ...state, permanent: bytes("00") },
      { ...state, volatile: state.permanent },
    ])
      expect(() => executor.restore(bad)).toThrow(TpmStateError);
    expect(run(executor, raw.readPcr16)).toBe(pcr);
  });
});
