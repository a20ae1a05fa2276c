import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { encodeBase64 } from "@entresol/evidence";
import { afterAll, describe, expect, test } from "vitest";
import { makeBundle, writeBundle } from "../collateral/bundle.ts";
import { scratchFolder } from "../testing/command.ts";
import { platformTime } from "../testing/quote-evidence.ts";
import { chip } from "../testing/snp-evidence.ts";
import { appraisalOf } from "../token/ear.ts";
import { signingKey, verificationKey } from "../token/keys.ts";
import { verifyEar } from "../token/token.ts";
import { type ServiceOptions, type TokenMaker, verificationService } from "./http-service.ts";
import { Judging } from "./judging.ts";
import { addressOf } from "./serve-command.ts";
import { ServiceMetrics } from "./service-metrics.ts";
import { reportSchema } from "./service-schemas.ts";
import { tokenOf } from "./tokens.ts";

const scratch = scratchFolder();
afterAll(() => scratch[Symbol.dispose]());
const evidence = chip({ crl: {} });
const [leaf, ask, ark] = evidence.certificates;
const root = join(scratch.path, "root.der");
mkdirSync(scratch.path, { recursive: true });
writeFileSync(root, ark);
const judging = await Judging.open({
  certs: [],
  collateral: [],
  trustRoot: [root],
  at: platformTime,
});
const text = (bytes: Uint8Array): string => encodeBase64(bytes, "base64");
const files = {
  "report.bin": text(evidence.report),
  "vcek.der": text(leaf),
  "ask.der": text(ask),
  "crl.der": text(evidence.crls?.[0] as Uint8Array),
};

const service = (options: ServiceOptions = {}) =>
  verificationService(judging, { metrics: new ServiceMetrics({ process: false }), ...options });
interface Answer {
  readonly verdict: string;
  readonly error: string;
  readonly openapi: string;
  readonly paths: object;
  readonly components: { readonly schemas: object };
}
const answerOf = async (response: Response): Promise<Answer> => (await response.json()) as Answer;
const post = (body: unknown, headers: Record<string, string> = {}): RequestInit => ({
  method: "POST",
  headers: { "content-type": "application/json", ...headers },
  body: typeof body === "string" ? body : JSON.stringify(body),
});

test("a bundle in a request is opened, and one that is broken refused", async () => {
  const bundle = await makeBundle([
    { role: "certificate", name: "vcek.der", data: leaf },
    { role: "certificate", name: "ask.der", data: ask },
  ]);
  const { "report.bin": report } = files;
  const judgedWith = async (collateral: Uint8Array) =>
    service().request(
      "/v1/verify",
      post({ files: { "report.bin": report, "collateral.json": text(collateral) } }),
    );
  expect((await answerOf(await judgedWith(writeBundle(bundle)))).verdict).toBe("accepted");
  const broken = await judgedWith(new TextEncoder().encode("{}"));
  expect(broken.status).toBe(400);
  expect((await answerOf(broken)).error).toContain("the bundle cannot be used");
});

describe("POST /v1/verify", () => {
  test("gives the verdict and the whole report, in the shape of its OpenAPI document", async () => {
    const response = await service().request("/v1/verify", post({ files }));
    expect(response.status).toBe(200);
    const report = await response.json();
    expect(report).toMatchObject({ verdict: "accepted", kind: "snp" });
    expect(() => reportSchema.parse(report)).not.toThrow();
  });

  test("answers 200 for every verdict", async () => {
    const changed = evidence.report.slice();
    changed[0x90] = 0;
    const refused = await service().request(
      "/v1/verify",
      post({ files: { ...files, "report.bin": text(changed) } }),
    );
    expect([refused.status, (await answerOf(refused)).verdict]).toEqual([200, "rejected"]);
    const lone = await service().request("/v1/verify", {
      method: "POST",
      headers: { "content-type": "application/octet-stream" },
      body: new Uint8Array(evidence.report),
    });
    expect([lone.status, (await answerOf(lone)).verdict]).toEqual([200, "unverified"]);
    const nothing = await service().request(
      "/v1/verify",
      post({ files: { x: text(Uint8Array.of(1, 2, 3)) } }),
    );
    expect(await nothing.json()).toMatchObject({ verdict: "unverified", checks: [] });
  });

  test.each([
    ["{", 400, "JSON"],
    ['{"files": {}, "files": {}}', 400, "twice"],
    [{ files: {} }, 400, "no file"],
    [{ files: { x: "!" } }, 400, "/files/x: not base64"],
    [{ files, policy: {} }, 400, "policy"],
    [{ files, trustRoot: "x" }, 400, "trustRoot"],
    [{ files, kind: "tpm1.2" }, 400, "/kind"],
    [{ files, at: "2026-06-01T00:00:00Z" }, 400, "present time only"],
    [{ files, nonce: "!" }, 400, "/nonce"],
    [
      { files: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`f${i}`, "AAAA"])) },
      400,
      "more than 64",
    ],
  ])("refuses %j", async (body, status, words) => {
    const response = await service().request("/v1/verify", post(body));
    expect(response.status).toBe(status);
    expect((await answerOf(response)).error).toContain(words);
  });

  test("bounds the body, announced or not", async () => {
    const app = service({ largestBody: 1000 });
    expect((await app.request("/v1/verify", post({ files }))).status).toBe(413);
    const endless = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new Uint8Array(512)),
    });
    const response = await app.request("/v1/verify", {
      method: "POST",
      headers: { "content-type": "application/octet-stream" },
      body: endless,
      duplex: "half",
    } as RequestInit);
    expect(response.status).toBe(413);
  });

  test("refuses bodies of other types, other methods and other paths", async () => {
    const app = service();
    expect((await app.request("/v1/verify", post("x", { "content-type": "text/plain" }))).status).toBe(415);
    expect((await app.request("/v1/verify")).status).toBe(404);
    expect((await app.request("/../etc/passwd")).status).toBe(404);
  });

  test("judges for another time only where it is allowed", async () => {
    const app = service({ allowAt: true });
    const late = await app.request("/v1/verify", post({ files, at: "2036-01-01T00:00:00Z" }));
    expect((await answerOf(late)).verdict).toBe("rejected");
    expect((await app.request("/v1/verify", post({ files, at: "soon" }))).status).toBe(400);
  });

  test("does not take more judgements at a time than it may", async () => {
    const app = service({ mostRunning: 1 });
    const responses = await Promise.all([1, 2].map(() => app.request("/v1/verify", post({ files }))));
    expect(responses.map(({ status }) => status).toSorted()).toEqual([200, 503]);
    expect(responses.find(({ status }) => status === 503)?.headers.get("retry-after")).toBe("1");
    expect((await app.request("/v1/verify", post({ files }))).status).toBe(200);
  });

  test("is not kept waiting by who sends slowly", async () => {
    const app = service({ mostRunning: 1 });
    let end = (): void => {};
    const slow = app.request("/v1/verify", {
      method: "POST",
      headers: { "content-type": "application/octet-stream" },
      body: new ReadableStream<Uint8Array>({
        start: (controller) => {
          controller.enqueue(new Uint8Array(4));
          end = () => controller.close();
        },
      }),
      duplex: "half",
    } as RequestInit);
    expect((await app.request("/v1/verify", post({ files }))).status).toBe(200);
    end();
    expect((await slow).status).toBe(200);
  });

  test("gives a signed token where it has a key, with the asker's nonce", async () => {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const pem = privateKey.export({ type: "pkcs8", format: "pem" }) as string;
    const key = await signingKey(pem);
    const type = "application/eat+jwt";
    const maker: TokenMaker = async (judgement, nonce) => ({
      type,
      token: await tokenOf(judgement, "ear-jwt", key, { nonce }),
    });
    const app = service({ tokens: new Map([[type, maker]]) });
    const nonce = Uint8Array.from({ length: 16 }, (_, i) => i);
    const response = await app.request("/v1/verify", post({ files, nonce: text(nonce) }, { accept: type }));
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe(type);
    const ear = await verifyEar(await response.text(), await verificationKey(pem), { nonce });
    expect(appraisalOf(ear).ear_verifier_claims.verdict).toBe("accepted");
    expect((await service().request("/v1/verify", post({ files }, { accept: type }))).status).toBe(406);
  });
});

describe("beside it", () => {
  test("/metrics counts verdicts and refusals", async () => {
    const app = service();
    await app.request("/v1/verify", post({ files }));
    await app.request("/v1/verify", post("{"));
    const metrics = await (await app.request("/metrics")).text();
    expect(metrics).toContain('entresol_verify_verdicts_total{kind="snp",verdict="accepted"} 1');
    expect(metrics).toContain('entresol_verify_refusals_total{status="400"} 1');
    expect(metrics).toContain("entresol_verify_running 0");
  });
  test("/openapi.json describes what there is", async () => {
    const document = await answerOf(await service().request("/openapi.json"));
    expect(document.openapi).toBe("3.1.0");
    expect(Object.keys(document.paths)).toEqual(["/v1/verify"]);
    expect(Object.keys(document.components.schemas).toSorted()).toEqual([
      "Refusal",
      "Report",
      "VerifyRequest",
    ]);
  });
  test("/healthz says that it runs", async () => {
    expect(await (await service().request("/healthz")).json()).toMatchObject({ status: "ok" });
  });
  test("an address is one of three forms", () => {
    expect(addressOf("8080")).toEqual({ hostname: "127.0.0.1", port: 8080 });
    expect(addressOf("0.0.0.0:1")).toEqual({ hostname: "0.0.0.0", port: 1 });
    expect(addressOf("[::1]:443")).toEqual({ hostname: "::1", port: 443 });
    for (const wrong of ["", "host", "host:", "host:99999", "::1:80"])
      expect(() => addressOf(wrong)).toThrow("--listen");
  });
});
