import { describe, expect, test } from "vitest";
import { contextOf } from "../context.ts";
import {
  allPcrs,
  type Bank,
  bootLog,
  pcrsAfter,
  type QuoteInput,
  quotingKey,
  tpmQuote,
  utf8,
} from "../testing/boot-evidence.ts";
import { publicAreaKey } from "../tpm/key.ts";
import { attestedBoot, type BootOptions } from "./attested-boot.ts";

const context = contextOf({ at: 0 });

/** Judges a log against a quote. Gives the checks that did not pass. */
async function judged(eventLog: Uint8Array, quote: QuoteInput = {}, options: BootOptions = {}) {
  const key = await publicAreaKey(context, quotingKey("rsa", "ak").publicArea);
  const boot = await attestedBoot(context, { tpmQuote: tpmQuote(quote), eventLog }, key, options);
  const off = boot.checks.filter(({ result }) => result !== "passed");
  return {
    ...boot,
    off: off.map(({ id, result }) => `${id} ${result}`),
    details: off.map(({ detail }) => detail).join("; "),
  };
}

describe("a log leads to the quoted PCRs", () => {
  test("in every bank that both have", async () => {
    const banks: Bank[] = ["sha1", "sha256", "sha384"];
    const log = bootLog({ banks });
    const selection = [
      ["sha384", allPcrs],
      ["sha256", [0, 4]],
    ] as const;
    const { off, log: claims } = await judged(log, { log, selection });
    expect(off).toEqual([]);
    expect(claims?.banks.map(({ bank, explained }) => [bank, explained])).toEqual([
      ["sha256", [0, 4]],
      ["sha384", [0, 4, 8]],
    ]);
  });

  test("and proves PCR values by itself when none came along", async () => {
    const { off, tpm } = await judged(bootLog(), { pcrs: null });
    expect(off).toEqual([]);
    expect(tpm?.pcrs?.map(({ value }) => value)).toEqual(pcrsAfter(bootLog(), "sha256"));
  });

  test.each([0, 3, 4] as const)("from start-up locality %i", async (locality) => {
    const log = bootLog({ locality });
    expect((await judged(log, { log })).off).toEqual([]);
    const pcrs = { sha256: pcrsAfter(log, "sha256") };
    const told = await judged(bootLog(), { log, pcrs });
    expect(told.off).toEqual(locality === 0 ? [] : ["log.replay failed"]);
  });

  test("EV_NO_ACTION extends nothing, and is no event that is proven", async () => {
    const { log } = await judged(bootLog());
    expect(log?.events).toHaveLength(4);
    expect(log?.log.events).toHaveLength(5);
  });

  test("padding behind it is no part of it", async () => {
    for (const filler of [0x00, 0xff]) {
      const padded = new Uint8Array(bootLog().length + 100).fill(filler);
      padded.set(bootLog());
      expect((await judged(padded)).off).toEqual([]);
    }
  });
});

describe("a log is refused", () => {
  test("whose kernel is another, with register, values and event", async () => {
    const { off, details, log } = await judged(bootLog({ kernel: utf8("another") }));
    expect(off).toEqual(["log.replay failed"]);
    expect(details).toMatch(/^PCR 4 of sha256: the log leads to [0-9a-f]{64}, [0-9a-f]{64} is quoted$/);
    expect(log).toMatchObject({ banks: [], events: [] });
  });

  test("without values, when its own are not the quoted ones", async () => {
    const { off } = await judged(bootLog({ kernel: utf8("another") }), { pcrs: null });
    expect(off).toEqual(["tpm.quote.pcrs failed", "log.replay not-run"]);
  });

  test("that has no bank of the quote, or no PCR of it", async () => {
    expect((await judged(bootLog({ banks: ["sha384"] }))).off).toEqual(["log.replay failed"]);
    expect((await judged(bootLog(), { selection: [["sha256", [1, 2, 3]]] })).off).toEqual([
      "log.replay failed",
    ]);
  });

  test("that is cut, or of a form that is none", async () => {
    const log = bootLog();
    expect((await judged(log.subarray(0, log.length - 1))).off).toContain("log.form failed");
    // Three digests where the log has two algorithms.
    const first = 32 + 16 + 8 + 4 + 2 * 4 + 1;
    expect((await judged(log.with(first + 8, 3))).off).toContain("log.form failed");
  });

  test("which a forged quote would confirm", async () => {
    const { off, log } = await judged(bootLog(), {
      changeSignature: (bytes) => bytes.set([(bytes[20] as number) ^ 1], 20),
    });
    expect(off).toContain("tpm.quote.signature failed");
    expect(log).toMatchObject({ banks: [], events: [] });
  });
});

test("PCRs that the caller names are the only ones that count", async () => {
  const other = bootLog({ kernel: utf8("another") });
  expect((await judged(other, {}, { eventLogRegisters: [0, 8] })).off).toEqual([]);
  expect((await judged(other, {}, { eventLogRegisters: [4] })).off).toEqual(["log.replay failed"]);
});

test("PCRs that were extended without the log, or are not quoted, are said to be unknown", async () => {
  const values = pcrsAfter(bootLog(), "sha256");
  const pcrs = { sha256: values.with(10, new Uint8Array(32).fill(1)) };
  const { createHash } = await import("node:crypto");
  const state = createHash("sha256");
  for (const value of pcrs.sha256) state.update(value);
  const digest = new Uint8Array(state.digest());
  const extended = await judged(bootLog(), { pcrs, digest });
  expect(extended.off).toEqual([]);
  expect(extended.log?.banks[0]?.unknown).toEqual([10]);
  const partly = await judged(bootLog(), { selection: [["sha256", [0, 4, 8, 23]]] });
  expect(partly.log?.banks[0]?.unknown).toEqual([1, 2, 3, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15]);
});
