import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { MalformedError, toHex, Writer } from "@entresol/wire";
import { assert as check, property, uint8Array } from "fast-check";
import { describe, expect, test } from "vitest";
import { EventLogBuilder } from "./build.ts";
import { EventType, eventTypeName } from "./event-types.ts";
import { parseEventLog } from "./parse.ts";
import { replay } from "./replay.ts";

const SHA1 = 0x0004;
const SHA256 = 0x000b;
const algorithms = [
  { id: SHA1, digestSize: 20 },
  { id: SHA256, digestSize: 32 },
];
const text = (value: string) => new TextEncoder().encode(value);
const sha = (name: string) => (value: Uint8Array, digest: Uint8Array) =>
  new Uint8Array(createHash(name).update(value).update(digest).digest());
const digestsOf = (data: Uint8Array) => [
  { algorithm: SHA256, digest: new Uint8Array(createHash("sha256").update(data).digest()) },
  { algorithm: SHA1, digest: new Uint8Array(createHash("sha1").update(data).digest()) },
];
const measured = (index: number, type: number, data: Uint8Array) => ({
  index,
  type,
  digests: digestsOf(data),
  data,
});

const log = new EventLogBuilder(algorithms)
  .startupLocality(3)
  .add(measured(0, EventType.EV_S_CRTM_VERSION, text("1\0")))
  .add(measured(4, EventType.EV_SEPARATOR, new Uint8Array(4)))
  .add(measured(4, EventType.EV_IPL, text("kernel")))
  .finish();
/** The specification event: 32 of header, 16 + 8 + 4 + 2 x 4 + 1 of data. */
const FIRST = 32 + 37;

function codeOf(bytes: Uint8Array): string {
  try {
    parseEventLog(bytes);
  } catch (error) {
    if (error instanceof MalformedError) return `${error.code} at ${error.offset}`;
    throw error;
  }
  return "read";
}

function changed(offset: number, ...values: number[]): Uint8Array {
  const copy = log.slice();
  copy.set(values, offset);
  return copy;
}

describe("a crypto-agile log", () => {
  test("is read as it was written, every event with its place", () => {
    const parsed = parseEventLog(log);
    expect(parsed).toMatchObject({
      format: "crypto-agile",
      startupLocality: 3,
      length: log.length,
      algorithms,
    });
    expect(parsed.specification).toMatchObject({ major: 2, minor: 0, uintnSize: 2, platformClass: 0 });
    expect(parsed.events.map(({ index, type }) => `${index} ${eventTypeName(type)}`)).toEqual([
      "0 EV_NO_ACTION",
      "0 EV_S_CRTM_VERSION",
      "4 EV_SEPARATOR",
      "4 EV_IPL",
    ]);
    const last = parsed.events[3];
    expect(last?.offset).toBe(log.length - 12 - 22 - 34 - 4 - 6);
    expect(last?.dataOffset).toBe(log.length - 6);
    expect(new TextDecoder().decode(last?.data)).toBe("kernel");
    // The builder orders digests as the log lists its algorithms.
    expect(last?.digests.map(({ algorithm }) => algorithm)).toEqual([SHA1, SHA256]);
  });

  test("replays each register from its own start: zeros, the start-up locality in PCR 0, ones above 16", () => {
    const more = new EventLogBuilder(algorithms)
      .startupLocality(3)
      .add(measured(0, EventType.EV_S_CRTM_VERSION, text("1\0")))
      .add(measured(17, EventType.EV_IPL, text("drtm")))
      .finish();
    const values = replay(parseEventLog(more), SHA256, sha("sha256"));
    const start = new Uint8Array(32);
    start[31] = 3;
    const hash = (data: Uint8Array) => new Uint8Array(createHash("sha256").update(data).digest());
    expect([...values.keys()]).toEqual([0, 17]);
    expect(toHex(values.get(0) ?? start)).toBe(toHex(sha("sha256")(start, hash(text("1\0")))));
    expect(toHex(values.get(17) ?? start)).toBe(
      toHex(sha("sha256")(new Uint8Array(32).fill(0xff), hash(text("drtm")))),
    );
    expect(replay(parseEventLog(more), 0x000c, sha("sha384")).size).toBe(0);
  });

  test("EV_NO_ACTION extends nothing, whatever its digests say", () => {
    const noted = new EventLogBuilder(algorithms)
      .add(measured(1, EventType.EV_NO_ACTION, text("says something")))
      .finish();
    expect(replay(parseEventLog(noted), SHA256, sha("sha256")).size).toBe(0);
  });

  test("ends before padding of ones or of zeros, and only there", () => {
    for (const filler of [0x00, 0xff]) {
      const padded = new Uint8Array(log.length + 4096).fill(filler);
      padded.set(log);
      expect(parseEventLog(padded)).toMatchObject({ length: log.length, startupLocality: 3 });
      padded[padded.length - 1] = 0x55;
      expect(codeOf(padded)).toMatch(/^(truncated|bad-value) at/);
    }
  });
});

describe("what the profile does not allow is named with its place", () => {
  test.each([
    ["no algorithm", changed(32 + 24, 0), `bad-value at ${32 + 24}`],
    ["200 algorithms", changed(32 + 24, 200), `bad-value at ${32 + 24}`],
    ["SHA-1 of 21 bytes", changed(32 + 30, 21), `bad-value at ${32 + 30}`],
    ["an algorithm twice", changed(32 + 32, 0x04, 0x00, 20, 0), `bad-value at ${32 + 32}`],
    ["vendor information past its event", changed(32 + 36, 1), "truncated at 37"],
    ["three digests", changed(FIRST + 8, 3), `bad-value at ${FIRST + 8}`],
    ["one digest", changed(FIRST + 8, 1), `bad-value at ${FIRST + 8}`],
    ["a digest by an algorithm of another log", changed(FIRST + 12, 0x0c), `bad-value at ${FIRST + 12}`],
    ["a digest twice", changed(FIRST + 12 + 22, 0x04), `bad-value at ${FIRST + 12 + 22}`],
    ["data past the end", changed(FIRST + 68, 0xff, 0xff, 0xff, 0xff), `truncated at ${FIRST + 72}`],
    ["locality 2", changed(FIRST + 72 + 16, 2), `bad-value at ${FIRST + 72 + 16}`],
    ["start-up locality of PCR 1", changed(FIRST, 1), `bad-value at ${FIRST}`],
  ])("%s", (_name, bytes, code) => expect(codeOf(bytes)).toBe(code));

  test("a start-up locality after a measurement into PCR 0", () => {
    const late = new EventLogBuilder(algorithms)
      .add(measured(0, EventType.EV_S_CRTM_VERSION, text("1\0")))
      .startupLocality(0)
      .finish();
    expect(codeOf(late)).toMatch(/^bad-value/);
  });

  test("a log cut anywhere ends at an event, or is truncated", () => {
    const ends = new Set([FIRST, ...parseEventLog(log).events.map(({ offset, length }) => offset + length)]);
    for (let size = 0; size < log.length; size++) {
      // Cut after zeros alone, the rest of an event cannot be told from padding.
      const code = codeOf(log.subarray(0, size));
      if (ends.has(size)) expect(code).toBe("read");
      else if (code !== "read") expect(code).toMatch(/^truncated/);
    }
  });

  test("any bytes give a log or MalformedError", () => {
    check(
      property(uint8Array({ maxLength: 300 }), (bytes) => {
        const whole = new Uint8Array(FIRST + bytes.length);
        whole.set(log.subarray(0, FIRST));
        whole.set(bytes, FIRST);
        expect(codeOf(bytes)).toBeTypeOf("string");
        expect(codeOf(whole)).toBeTypeOf("string");
      }),
    );
  });
});

test("a log of the old form has one SHA-1 digest for each event", () => {
  const digest = new Uint8Array(20).fill(7);
  const old = new Writer(64).u32(4).u32(EventType.EV_IPL).bytes(digest).u32(3).bytes(text("abc")).finish();
  const parsed = parseEventLog(old);
  expect(parsed).toMatchObject({ format: "sha1", specification: undefined, algorithms: [algorithms[0]] });
  expect(parsed.events).toHaveLength(1);
  const value = replay(parsed, SHA1, sha("sha1")).get(4);
  expect(value && toHex(value)).toBe(toHex(sha("sha1")(new Uint8Array(20), digest)));
});

test("the builder refuses an event without the digests of the log", () => {
  const builder = new EventLogBuilder(algorithms);
  const event = measured(1, EventType.EV_IPL, text("x"));
  expect(() => builder.add({ ...event, digests: event.digests.slice(0, 1) })).toThrow(RangeError);
});

const vectors = [
  process.env["ENTRESOL_VECTORS"],
  resolve(import.meta.dirname, "../../../../../shared/vectors"),
].find((folder) => folder !== undefined && existsSync(join(folder, "attest")));
if (vectors === undefined)
  console.log("no recorded event logs (ENTRESOL_VECTORS): logs of real firmware are not read");

describe.runIf(vectors !== undefined)("logs of real firmware", () => {
  const folder = join(vectors ?? "", "attest");

  test("those of GCE's virtual TPMs are read whole and measure PCR 0 to 7", () => {
    for (const name of readdirSync(join(folder, "tcg-eventlog/gce"))) {
      const parsed = parseEventLog(readFileSync(join(folder, "tcg-eventlog/gce", name)));
      const values = replay(parsed, SHA256, sha("sha256"));
      expect([...values.keys()].filter((index) => index < 8).length, name).toBeGreaterThanOrEqual(7);
    }
  });

  test("a CCEL's last values are the RTMRs that its TD quote signs", () => {
    const at = join(folder, "tdx/v4-gcp-cos113-ccel");
    const quote = readFileSync(join(at, "quote.bin"));
    const values = replay(parseEventLog(readFileSync(join(at, "ccel_data.dat"))), 0x000c, sha("sha384"));
    for (const index of [1, 2, 3]) {
      const rtmr = quote.subarray(48 + 328 + (index - 1) * 48, 48 + 328 + index * 48);
      expect(toHex(values.get(index) ?? new Uint8Array(48)), `RTMR ${index - 1}`).toBe(toHex(rtmr));
    }
  });
});
