import { encodePem } from "@entresol/evidence";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { EvidenceError } from "../errors.ts";
import { CollateralServer } from "../testing/collateral-server.ts";
import { crl, keyPair } from "../testing/pki.ts";
import { platform } from "../testing/quote-evidence.ts";
import { CollateralClient, type CollateralClientOptions, retryAfter } from "./client.ts";
import {
  amdCrlRequest,
  publicServices,
  rootCrlRequest,
  servicePaths,
  tcbInfoRequest,
  vcekRequest,
} from "./services.ts";
import { type CollateralStore, MemoryStore, type StoredAnswer, TieredStore } from "./store.ts";

const server = await CollateralServer.start();
afterAll(() => server.stop());

/** 2026-06-01, in the middle of what the test PKI issues. */
const NOW = Date.parse("2026-06-01T00:00:00Z");
const HOUR = 3_600_000;
/** The same for the same times: a PSS signature is another one every time. */
const lists = new Map<string, Uint8Array>();
function list(thisUpdate = "2026-05-01T00:00:00Z", nextUpdate = "2026-07-01T00:00:00Z"): Uint8Array {
  const name = `${thisUpdate} ${nextUpdate}`;
  const made =
    lists.get(name) ??
    crl({ issuer: { name: "ARK-Genoa", key: keyPair("rsa-2048", "ark") }, thisUpdate, nextUpdate });
  lists.set(name, made);
  return made;
}
const request = amdCrlRequest("Genoa", "vcek");

let now: number;
let slept: number[];
beforeEach(() => {
  now = NOW;
  slept = [];
  server.asked.length = 0;
  server.most = 0;
});

function client(options: CollateralClientOptions = {}): CollateralClient {
  const { base } = server;
  return new CollateralClient({
    services: { kds: base, pcs: base, roots: base },
    now: () => now,
    sleep: async (milliseconds) => {
      slept.push(milliseconds);
      now += milliseconds;
    },
    timeout: 2000,
    ...options,
  });
}
const refused = async (collecting: Promise<unknown>): Promise<string> => {
  const error = await collecting.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(EvidenceError);
  expect((error as EvidenceError).code).toBe("unavailable");
  return (error as EvidenceError).message;
};

describe("the requests are those of the services' documents", () => {
  const tcb = { bootloader: 4, tee: 0, snp: 22, microcode: 219 };
  test("a VCEK is asked for by 64 bytes of CHIP_ID and two-digit levels", () => {
    const { path, service } = vcekRequest("Genoa", new Uint8Array(64).fill(0xab), tcb);
    expect(service).toBe("kds");
    expect(path).toBe(`/vcek/v1/Genoa/${"ab".repeat(64)}?blSPL=04&teeSPL=00&snpSPL=22&ucodeSPL=219`);
  });
  test("Turin's is asked for by 8 bytes, and has an FMC level", () => {
    const { path } = vcekRequest("Turin", new Uint8Array(64).fill(0xab), { fmc: 1, ...tcb });
    expect(path).toBe(`/vcek/v1/Turin/${"ab".repeat(8)}?fmcSPL=01&blSPL=04&teeSPL=00&snpSPL=22&ucodeSPL=219`);
  });
  test("TCB info is asked for by FMSPC and set", () => {
    expect(tcbInfoRequest("tdx", Uint8Array.of(0, 0x80, 0x6f, 5, 0, 0), "early").path).toBe(
      "/tdx/certification/v4/tcb?fmspc=00806f050000&update=early",
    );
  });
  test("every path begins with a slash, and every public base is https without one at its end", () => {
    for (const path of Object.values(servicePaths)) expect(path).toMatch(/^\/[^/]/);
    for (const base of Object.values(publicServices)) expect(base).toMatch(/^https:\/\/[^/]+$/);
  });
});

describe("what a service answers", () => {
  test("is given with its URL, and kept: it is asked for once", async () => {
    server.on(request.path, { does: "answer", bytes: list() });
    const one = client();
    const first = await one.collect(request, NOW);
    expect(first.from).toBe("service");
    expect(first.url).toBe(server.base + request.path);
    expect(first.bytes).toEqual(list());
    expect((await one.collect(request, NOW)).from).toBe("store");
    expect(server.asked).toEqual([request.path]);
  });

  test("is asked for once by many at the same time, and two documents one after the other", async () => {
    const other = amdCrlRequest("Milan", "vcek");
    server.on(request.path, { does: "answer", bytes: list() });
    server.on(other.path, { does: "answer", bytes: list() });
    const one = client();
    await Promise.all([request, request, other, other, request].map((each) => one.collect(each, NOW)));
    expect(server.asked.toSorted()).toEqual([request.path, other.path].toSorted());
    expect(server.most).toBe(1);
  });

  test("may be PEM or hexadecimal, as caching services give lists", async () => {
    for (const bytes of [
      new TextEncoder().encode(encodePem("X509 CRL", list())),
      new TextEncoder().encode(Buffer.from(list()).toString("hex")),
    ]) {
      server.on(rootCrlRequest().path, { does: "answer", bytes });
      expect((await client().collect(rootCrlRequest(), NOW)).bytes).toEqual(list());
    }
  });

  test("has its signers in a header, percent-encoded; JSON keeps its very bytes", async () => {
    const { collateral, signer } = platform();
    const pem = encodePem("CERTIFICATE", signer);
    const asked = tcbInfoRequest("tdx", Uint8Array.of(0, 0xa0, 0xb0, 0xc0, 0xd0, 0xe0));
    server.on(asked.path, {
      does: "answer",
      bytes: collateral.tcbInfo,
      headers: { "TCB-Info-Issuer-Chain": encodeURIComponent(pem) },
    });
    const answer = await client({ subscriptionKey: "secret" }).collect(asked, NOW);
    expect(answer.bytes).toEqual(collateral.tcbInfo);
    expect(new TextDecoder().decode(answer.chain)).toBe(pem);
    expect(server.lastHeaders["ocp-apim-subscription-key"]).toBe("secret");
    server.on(asked.path, {
      does: "answer",
      bytes: collateral.tcbInfo,
      headers: { "TCB-Info-Issuer-Chain": "%E0%A4%A" },
    });
    expect(await refused(client().collect(asked, NOW))).toContain("header TCB-Info-Issuer-Chain");
  });

  test("is refused when it is something else: a login page, nothing, another document", async () => {
    for (const bytes of [
      new TextEncoder().encode("<html>please log in</html>"),
      new Uint8Array(0),
      platform().collateral.tcbInfo,
      list().subarray(0, 100),
    ]) {
      server.on(request.path, { does: "answer", bytes });
      expect(await refused(client().collect(request, NOW))).toContain("gave something else");
    }
  });

  test("is refused when it ran out, or is not yet valid, also right after it came", async () => {
    server.on(request.path, { does: "answer", bytes: list("2026-04-01T00:00:00Z", "2026-05-01T00:00:00Z") });
    expect(await refused(client().collect(request, NOW))).toContain("not at 2026-06-01T00:00:00Z");
    server.on(request.path, { does: "answer", bytes: list() });
    expect(await refused(client().collect(request, Date.parse("2026-04-01T00:00:00Z")))).toContain(
      "valid from",
    );
  });

  test("is cut off when it is too long", async () => {
    server.on(request.path, { does: "flood" });
    expect(await refused(client({ largest: 1 << 20 }).collect(request, NOW))).toContain(
      "more than 1048576 bytes",
    );
  });

  test("is never followed elsewhere", async () => {
    server.on(request.path, {
      does: "refuse",
      status: 302,
      headers: { location: `${server.base}/elsewhere` },
    });
    await refused(client({ attempts: 1 }).collect(request, NOW));
    expect(server.asked).toEqual([request.path]);
  });
});

describe("a service that fails", () => {
  test("is asked again after growing pauses, then given up", async () => {
    server.on(
      request.path,
      { does: "refuse", status: 500 },
      { does: "hang up" },
      { does: "answer", bytes: list() },
    );
    expect((await client().collect(request, NOW)).from).toBe("service");
    expect(slept).toEqual([500, 1000]);
    server.on(request.path, { does: "refuse", status: 500 });
    expect(await refused(client().collect(request, NOW))).toContain("the service failed (500)");
  });

  test("is not asked again when it says that there is no such thing", async () => {
    server.on(request.path, { does: "refuse", status: 404 });
    expect(await refused(client().collect(request, NOW))).toContain("answered 404");
    expect(server.asked).toHaveLength(1);
  });

  test("is given up when it does not answer in time, or breaks off", async () => {
    server.on(request.path, { does: "hang" });
    expect(await refused(client({ timeout: 30, attempts: 2 }).collect(request, NOW))).toContain(
      "no answer within 30 ms",
    );
    expect(server.asked).toHaveLength(2);
    server.on(request.path, { does: "break off", bytes: list() });
    expect(await refused(client({ attempts: 1 }).collect(request, NOW))).toContain("cannot be reached");
  });

  test("is left alone for as long as it says, by all requests to it", async () => {
    server.on(
      request.path,
      { does: "refuse", status: 429, headers: { "retry-after": "7" } },
      { does: "answer", bytes: list() },
    );
    expect((await client().collect(request, NOW)).from).toBe("service");
    expect(slept).toEqual([7000]);

    const busy = client();
    server.on(request.path, { does: "refuse", status: 429, headers: { "retry-after": "3600" } });
    expect(await refused(busy.collect(request, NOW))).toContain("left alone until 2026-06-01T01:00:");
    server.asked.length = 0;
    const other = amdCrlRequest("Milan", "vcek");
    server.on(other.path, { does: "answer", bytes: list() });
    expect(await refused(busy.collect(other, NOW))).toContain("wants to be left alone");
    expect(server.asked).toEqual([]);
    now += HOUR;
    expect((await busy.collect(other, NOW)).from).toBe("service");
  });

  test("says for how long in seconds or as a date; anything else counts as nothing said", () => {
    expect(retryAfter("120", NOW)).toBe(120_000);
    expect(retryAfter("Mon, 01 Jun 2026 00:00:30 GMT", NOW)).toBe(30_000);
    expect(retryAfter("Mon, 01 Jun 2020 00:00:30 GMT", NOW)).toBe(0);
    for (const text of [null, "", "soon", "-5", "1e9999"]) expect(retryAfter(text, NOW)).toBeUndefined();
  });

  test("is replaced by an old answer while that is valid, and not for longer", async () => {
    server.on(request.path, { does: "answer", bytes: list() }, { does: "refuse", status: 503 });
    const one = client();
    await one.collect(request, NOW);
    now += 7 * HOUR;
    const stale = await one.collect(request, now);
    expect(stale.from).toBe("stale");
    expect(stale.bytes).toEqual(list());
    now = Date.parse("2026-07-02T00:00:00Z");
    await refused(one.collect(request, now));
  });

  test("is asked behind the caller's back when an old answer will do", async () => {
    const newer = list("2026-06-01T00:00:00Z", "2026-08-01T00:00:00Z");
    server.on(request.path, { does: "answer", bytes: list() }, { does: "answer", bytes: newer });
    const one = client({ refreshBehind: true });
    await one.collect(request, NOW);
    now += 7 * HOUR;
    expect((await one.collect(request, now)).from).toBe("stale");
    await expect.poll(async () => (await one.collect(request, now)).from).toBe("store");
    expect((await one.collect(request, now)).bytes).toEqual(newer);
    expect(server.asked).toHaveLength(2);
  });
});

describe("a store", () => {
  const answer = (url: string, size: number): StoredAnswer => ({
    url,
    at: NOW,
    bytes: new Uint8Array(size),
    chain: new Uint8Array(0),
  });

  test("in memory forgets what was used least recently, by bytes", async () => {
    const store = new MemoryStore(1000);
    await store.set(answer("a", 400));
    await store.set(answer("b", 400));
    await store.get("a");
    await store.set(answer("c", 400));
    expect(await store.get("b")).toBeUndefined();
    expect((await store.get("a"))?.bytes).toHaveLength(400);
    await store.set(answer("d", 2000));
    expect(await store.get("d")).toBeUndefined();
    expect(store.bytes).toBe(802);
  });

  test("before another is filled from it", async () => {
    const quick = new MemoryStore();
    const lasting = new MemoryStore();
    await lasting.set(answer("a", 5));
    const both = new TieredStore(quick, lasting);
    await both.get("a");
    expect(await quick.get("a")).toBeDefined();
    await both.set(answer("b", 6));
    expect(await lasting.get("b")).toBeDefined();
  });

  test("that fails, or holds something else, does no harm", async () => {
    server.on(request.path, { does: "answer", bytes: list() });
    const broken: CollateralStore = {
      get: () => Promise.reject(new Error("disk")),
      set: () => Promise.reject(new Error("disk")),
    };
    expect((await client({ store: broken }).collect(request, NOW)).from).toBe("service");
    const store = new MemoryStore();
    await store.set(answer(server.base + request.path, 20));
    expect((await client({ store }).collect(request, NOW)).from).toBe("service");
  });

  test("is all there is offline", async () => {
    const store = new MemoryStore();
    expect(await refused(client({ store, offline: true }).collect(request, NOW))).toContain(
      "not in the store",
    );
    server.on(request.path, { does: "answer", bytes: list() });
    await client({ store }).collect(request, NOW);
    now += 100 * HOUR;
    expect((await client({ store, offline: true }).collect(request, NOW)).from).toBe("store");
    expect(server.asked).toHaveLength(1);
  });
});
