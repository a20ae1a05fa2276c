import { asyncProperty, assert as check, constantFrom, integer, nat } from "fast-check";
import { expect, test } from "vitest";
import { judge } from "../appraise.ts";
import { verifyTdxLog } from "../ccel/verify.ts";
import type { Outcome } from "../outcome.ts";
import { verifySvsm } from "../svsm/verify.ts";
import { bootLog, pcrsAfter, tpmQuote } from "../testing/boot-evidence.ts";
import { paravisor, svsm } from "../testing/paravisor-evidence.ts";
import { platform, platformTime } from "../testing/quote-evidence.ts";
import { type HclEvidence, verifyHcl } from "./verify.ts";

const at = platformTime;
const made = paravisor();
const attested = svsm();
const td = platform();
const { tpmQuote: quote = tpmQuote(), eventLog = bootLog() } = made;

const changed = (bytes: Uint8Array, at: number, by: number): Uint8Array => {
  const copy = bytes.slice();
  copy[at % copy.length] = (copy[at % copy.length] as number) ^ by;
  return copy;
};
const cut = (bytes: Uint8Array, at: number): Uint8Array => bytes.subarray(0, at % bytes.length);

const hcl = (more: Partial<HclEvidence>): Promise<Outcome> =>
  verifyHcl({ ...made, ...more }, { at, roots: made.roots });
type Change = (bytes: Uint8Array) => Uint8Array;
/** What can be changed, and how that is judged. `free`: bytes that nobody signed. */
const targets: Readonly<
  Record<
    string,
    {
      readonly run: (change: Change) => Promise<Outcome>;
      readonly free: (at: number) => boolean;
      readonly size: number;
    }
  >
> = {
  report: {
    run: (change) => hcl({ report: change(made.report) }),
    // The header, all but its sizes, says nothing that counts.
    free: (at) => at < 32,
    size: made.report.length,
  },
  message: {
    run: (change) => hcl({ tpmQuote: { ...quote, message: change(quote.message) } }),
    free: () => false,
    size: quote.message.length,
  },
  signature: {
    run: (change) => hcl({ tpmQuote: { ...quote, signature: change(quote.signature) } }),
    free: () => false,
    size: quote.signature.length,
  },
  "PCR value": {
    run: (change) =>
      hcl({
        tpmQuote: {
          ...quote,
          pcrs: { sha256: pcrsAfter(bootLog(), "sha256").with(4, change(new Uint8Array(32))) },
        },
      }),
    free: () => false,
    size: 32,
  },
  log: {
    run: (change) => hcl({ eventLog: change(eventLog) }),
    // Descriptions of events and digests of other banks are as the firmware wrote them.
    free: () => true,
    size: eventLog.length,
  },
  "SVSM manifest": {
    run: (change) =>
      verifySvsm({ ...attested, manifest: change(attested.manifest) }, { at, roots: attested.roots }),
    free: () => false,
    size: attested.manifest.length,
  },
  "SVSM nonce": {
    run: (change) =>
      verifySvsm({ ...attested, nonce: change(attested.nonce) }, { at, roots: attested.roots }),
    free: () => false,
    size: 64,
  },
  CCEL: {
    run: (change) =>
      verifyTdxLog({ ...td, eventLog: change(bootLog({ banks: ["sha384"] })) }, { at, roots: td.roots }),
    free: () => true,
    size: bootLog({ banks: ["sha384"] }).length,
  },
};

test("nothing throws, and nothing is accepted whose signed bytes were changed or cut", async () => {
  await check(
    asyncProperty(
      constantFrom(...Object.keys(targets)),
      nat(10_000),
      integer({ min: 1, max: 255 }),
      constantFrom("changed", "cut"),
      async (name, where, by, how) => {
        const { run, free, size } = targets[name] as (typeof targets)[string];
        const offset = where % size;
        const outcome = await run((bytes) =>
          how === "cut" ? cut(bytes, offset) : changed(bytes, offset, by),
        );
        const { verdict } = judge(outcome);
        if (how === "cut" ? name !== "log" && name !== "CCEL" : !free(offset))
          expect(verdict, `${name}, byte ${offset} ${how}`).not.toBe("accepted");
      },
    ),
  );
});

test("what is judged are the bytes as they were when it was asked for, whatever their owner writes meanwhile", async () => {
  const late = { ...made, report: made.report.with(32 + 0x90, 1) };
  const asked = verifyHcl(late, { at, roots: made.roots });
  late.report.set(made.report);
  const failed = (await asked).checks.filter(({ result }) => result === "failed").map(({ id }) => id);
  expect(failed).toEqual(["hcl.snp.signature"]);

  const manifest = attested.manifest.with(20, 9);
  const svsmAsked = verifySvsm({ ...attested, manifest }, { at, roots: attested.roots });
  manifest.set(attested.manifest);
  expect(judge(await svsmAsked).verdict).toBe("rejected");
});
