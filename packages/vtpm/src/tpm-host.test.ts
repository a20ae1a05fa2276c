import { describe, expect, it } from "vitest";
import { MemoryStore } from "./state-store.ts";
import { HeldSearches } from "./testing/held-search.ts";
import { raw, success } from "./testing/loopback-client.ts";
import { createRsaPrimary } from "./testing/rsa-primary.ts";
import { TpmHost } from "./tpm-host.ts";

const bytes = (hex: string): Uint8Array => Buffer.from(hex, "hex");
const hex = (data: Uint8Array): string => Buffer.from(data).toString("hex");
const long = bytes(createRsaPrimary(3072));
/** Another key: that of the endorsement hierarchy. */
const other = bytes(createRsaPrimary(3072).replace("40000001", "4000000b"));
const canceled = "80010000000a00000909";
const initialize = "80010000000a00000100";

function started() {
  const searches = new HeldSearches();
  const host = new TpmHost({ store: new MemoryStore(), searchKey: searches.begin });
  host.start();
  host.startup(0);
  return { searches, host };
}

describe("a client that sends its next long command the moment the last one was canceled", () => {
  /** Each response is followed at once by another long command, some times over. */
  function insisting() {
    const parts = started();
    const responses: string[] = [];
    let left = 3;
    const next = (): void => {
      if (left-- === 0) return;
      parts.host.submit(left === 1 ? other : long, 0, (response) => {
        responses.push(hex(response));
        next();
      });
    };
    next();
    return { ...parts, responses };
  }

  it("stands in line behind the command that it was canceled for", () => {
    const { host, searches, responses } = insisting();
    expect(hex(host.execute(bytes(raw.getRandom), 0))).toMatch(/^80010000001c00000000/);
    expect([responses, searches.outcomes]).toEqual([[canceled], ["canceled", "searching"]]);
    searches.end();
    expect(searches.outcomes).toEqual(["canceled", "found", "searching"]);
    searches.end();
    expect(responses.slice(1).map((response) => response.slice(20, 28))).toEqual(["80000000", "80000001"]);
    expect(hex(host.execute(bytes(raw.readClock), 0))).toMatch(/^80010000002300000000/);
  });

  it("does not outlive the TPM's power, nor hold up the next start", () => {
    const { host, searches, responses } = insisting();
    host.stop();
    expect(responses).toEqual([canceled, initialize, initialize]);
    expect(searches.outcomes).toEqual(["canceled"]);
    host.start();
    expect(host.startup(0)).toBe(0);
  });

  it("is canceled once for each time that somebody asks", () => {
    const { host, searches, responses } = insisting();
    host.cancel();
    host.cancel();
    expect([responses, searches.outcomes]).toEqual([
      [canceled, canceled],
      ["canceled", "canceled", "searching"],
    ]);
    searches.end();
    expect(responses[2]).toMatch(/^8002[0-9a-f]{8}0000000080000000/);
  });

  it("does not get between the parts of a measurement by the platform", () => {
    const { host, searches, responses } = insisting();
    host.hashStart();
    host.hashData(bytes("61"));
    host.hashEnd();
    expect(responses).toEqual([canceled]);
    searches.end();
    expect(host.established).toBe(true);
    expect(responses[1]).toMatch(/^8002[0-9a-f]{8}0000000080000000/);
  });
});

describe("a command that waits for a key", () => {
  it("is not in a state that is given out meanwhile, and is carried out after", () => {
    const { host, searches } = started();
    const responses: string[] = [];
    host.submit(long, 0, (response) => responses.push(hex(response)));
    const blobs = ([1, 2] as const).map((kind) => ({ kind, ...host.getState(kind, true, false)! }));
    searches.end();
    expect(responses[0]).toMatch(/^8002[0-9a-f]{8}0000000080000000/);
    const next = new TpmHost({ store: new MemoryStore() });
    for (const { kind, encrypted, bytes: blob } of blobs) next.setState(kind, encrypted, blob);
    next.start();
    const list = bytes("8001000000160000017a000000018000000000000008");
    expect(hex(next.execute(list))).toMatch(/0000000100000000$/);
    expect(hex(host.execute(list))).toMatch(/000000010000000180000000$/);
  });

  it("stands alone: a second one begins its search when the first is over, and both get their keys", () => {
    const { host, searches } = started();
    const responses: string[] = [];
    for (const command of [long, other]) host.submit(command, 0, (response) => responses.push(hex(response)));
    expect(searches.outcomes).toEqual(["searching"]);
    searches.end();
    expect(searches.outcomes).toEqual(["found", "searching"]);
    searches.end();
    expect(responses.map((response) => response.slice(20, 28))).toEqual(["80000000", "80000001"]);
  });

  it("gets no key once it was canceled, though the search ends after all", () => {
    const { host, searches } = started();
    const responses: string[] = [];
    host.submit(long, 0, (response) => responses.push(hex(response)));
    host.cancel();
    host.cancel();
    expect(responses).toEqual([canceled]);
    expect(searches.outcomes).toEqual(["canceled"]);
    expect(hex(host.execute(bytes("80010000000c000001450000")))).toBe(success);
  });
});
