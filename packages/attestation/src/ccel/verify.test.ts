import { describe, expect, test } from "vitest";
import { judge } from "../appraise.ts";
import { bootLog, hashed, type LogInput, pcrsAfter, utf8 } from "../testing/boot-evidence.ts";
import { type PlatformInput, platform, platformTime } from "../testing/quote-evidence.ts";
import { type TdxLogOptions, verifyTdxLog } from "./verify.ts";

/** As firmware maps PCRs: 0 to RTMR 0, 4 to RTMR 1, 8 to RTMR 2; MR index 1 is RTMR 0. */
const indexOf = (pcr: number): number => ({ 0: 1, 4: 2, 8: 3 })[pcr] ?? 4;
const ccel = (input: LogInput = {}): Uint8Array => bootLog({ banks: ["sha384"], indexOf, ...input });

/** Verifies a quote of a TD that booted with `booted`, beside the log that is shown. Gives the checks that did not pass. */
async function judged(
  shown: Uint8Array,
  { booted = ccel(), td, ...input }: PlatformInput & { readonly booted?: Uint8Array } = {},
  options: TdxLogOptions = {},
) {
  const [, rtmr0, rtmr1, rtmr2] = pcrsAfter(booted, "sha384") as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
    Uint8Array,
  ];
  const made = platform({ ...input, td: { rtmr0, rtmr1, rtmr2, ...td } });
  const outcome = await verifyTdxLog(
    { quote: made.quote, collateral: made.collateral, eventLog: shown },
    { at: platformTime, roots: made.roots, ...options },
  );
  const off = outcome.checks.filter(({ result }) => result !== "passed");
  return {
    outcome,
    off: off.map(({ id, result }) => `${id} ${result}`),
    details: off.map(({ detail }) => detail).join("; "),
  };
}

describe("a CCEL", () => {
  test("leads to the RTMRs of the quote: measurement register 1 is RTMR 0", async () => {
    const { outcome, off } = await judged(ccel());
    expect(off).toEqual([]);
    expect(outcome.kind).toBe("tdx");
    expect(outcome.claims?.log?.banks).toEqual([{ bank: "sha384", explained: [0, 1, 2], unknown: [] }]);
    expect(outcome.claims?.log?.events.map(({ register }) => register)).toEqual([0, 0, 1, 2]);
    expect(judge(outcome, { tpm: { eventLog: "required" } }).verdict).toBe("accepted");
  });

  test("has ones behind it as a rule", async () => {
    const padded = new Uint8Array(65536).fill(0xff);
    padded.set(ccel());
    expect((await judged(padded)).off).toEqual([]);
  });

  test("of another boot is refused, with the RTMR", async () => {
    const { outcome, off, details } = await judged(ccel({ kernel: utf8("another") }));
    expect(off).toEqual(["log.replay failed"]);
    expect(details).toMatch(/^RTMR 1: the log leads to [0-9a-f]{96}, the quote has [0-9a-f]{96}$/);
    expect(outcome.verified).toBeUndefined();
  });

  test("that extends MRTD, or a register that there is not, is refused", async () => {
    for (const wrong of [0, 5]) {
      const log = ccel({ indexOf: (pcr) => (pcr === 8 ? wrong : indexOf(pcr)) });
      const { off, details } = await judged(log, { booted: log, td: { rtmr2: new Uint8Array(48) } });
      expect(off).toEqual(["log.replay failed"]);
      expect(details).toContain(`an event of measurement register ${wrong}`);
    }
  });

  test("without SHA-384, without events, or cut is refused", async () => {
    expect((await judged(ccel({ banks: ["sha256"] }))).off).toEqual(["log.replay failed"]);
    const empty = ccel().subarray(0, 32 + 16 + 8 + 4 + 4 + 1);
    expect((await judged(empty, { booted: empty })).off).toEqual(["log.replay failed"]);
    expect((await judged(ccel().subarray(0, -1))).off).toEqual(["log.form failed", "log.replay not-run"]);
  });

  test("of a quote that is not signed says nothing", async () => {
    const { outcome, off } = await judged(ccel(), { change: (quote) => quote.set([1], 48 + 136) });
    expect(off).toEqual(["quote.signature failed"]);
    expect(outcome.verified).toBeUndefined();
  });

  test("does not explain what was extended without it, and a refused event may be there", async () => {
    const { outcome, off } = await judged(ccel(), {
      td: { rtmr3: hashed("sha384", utf8("an application")) },
    });
    expect(off).toEqual([]);
    expect(outcome.claims?.log?.banks).toEqual([{ bank: "sha384", explained: [0, 1, 2], unknown: [3] }]);
    const policy = { tpm: { refusedEventDigests: ["00".repeat(48)] } };
    expect(judge(outcome, policy).verdict).toBe("unverified");
    expect(judge((await judged(ccel())).outcome, policy).verdict).toBe("accepted");
  });

  test("counts for the RTMRs that the caller names", async () => {
    const shown = ccel({ kernel: utf8("another") });
    expect((await judged(shown, {}, { eventLogRegisters: [0, 2] })).off).toEqual([]);
    expect((await judged(shown, {}, { eventLogRegisters: [1] })).off).toEqual(["log.replay failed"]);
  });
});

describe("a log as JSON", () => {
  const rtmrEvent = (imr: number, type: number, event: string, payload: Uint8Array, data = payload) => ({
    imr,
    event_type: type,
    digest: Buffer.from(hashed("sha384", data)).toString("hex"),
    event,
    event_payload: Buffer.from(payload).toString("hex"),
  });
  const runtime = utf8("\u0001\0\0\u0008:app-id:an application");
  const events = [
    rtmrEvent(0, 4, "", new Uint8Array(4)),
    rtmrEvent(3, 0x0800_0001, "app-id", utf8("an application"), runtime),
  ];
  const extended = (data: Uint8Array) => hashed("sha384", new Uint8Array(48), hashed("sha384", data));
  const td = {
    rtmr0: extended(new Uint8Array(4)),
    rtmr1: new Uint8Array(48),
    rtmr2: new Uint8Array(48),
    rtmr3: extended(runtime),
  };

  test("leads to the RTMRs, the guest's own events hashed with type and name", async () => {
    for (const text of [JSON.stringify(events), JSON.stringify({ event_log: JSON.stringify(events) })]) {
      const { outcome, off } = await judged(utf8(text), { td });
      expect(off).toEqual([]);
      expect(outcome.claims?.log?.banks).toEqual([{ bank: "sha384", explained: [0, 3], unknown: [] }]);
      expect(outcome.claims?.log?.events.map(({ dataMeasured }) => dataMeasured)).toEqual([true, true]);
    }
  });

  test.each([
    ["of RTMR 4", [{ ...events[0], imr: 4 }]],
    ["with a short digest", [{ ...events[0], digest: "00" }]],
    ["with a digest that is no hexadecimal", [{ ...events[0], digest: "zz" }]],
    ["without a type", [{ ...events[0], event_type: undefined }]],
    ["that is no list", { event_log: "{}" }],
    ["that is another document", {}],
  ])("%s is refused", async (_name, value) => {
    expect((await judged(utf8(JSON.stringify(value)), { td })).off).toContain("log.form failed");
  });
});

test("who demands a TPM's PCRs does not take a bare TD quote", async () => {
  const { outcome } = await judged(ccel());
  expect(judge(outcome, { tpm: { quote: "required" } }).verdict).toBe("rejected");
  expect(judge(outcome, { tpm: { pcrs: { sha256: { 0: ["00".repeat(32)] } } } }).verdict).toBe("rejected");
});
