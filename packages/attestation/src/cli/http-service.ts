import { decodeBase64, jsonOf, jsonValue, parseStrictJson } from "@entresol/evidence";
import { EntresolError, MalformedError } from "@entresol/wire";
import { OpenAPIHono } from "@hono/zod-openapi";
import { bodyLimit } from "hono/body-limit";
import { HTTPException } from "hono/http-exception";
import { secureHeaders } from "hono/secure-headers";
import { timeOf } from "../context.ts";
import { reportOf } from "../report/report.ts";
import { openBundles } from "../submission/bundles.ts";
import type { Judgement } from "../submission/judgement.ts";
import { kindNamed, kinds } from "../submission/kinds.ts";
import { GIVEN_NONCE, type Judging } from "./judging.ts";
import { ServiceMetrics } from "./service-metrics.ts";
import { refusalSchema, reportSchema, type VerifyRequest, verifyRequestSchema } from "./service-schemas.ts";
import { VERSION } from "./version.ts";

/** Makes a signed token of a judgement: its bytes, and their media type. */
export type TokenMaker = (
  judgement: Judgement,
  nonce: Uint8Array | undefined,
) => Promise<{ readonly type: string; readonly token: string | Uint8Array }>;

export interface ServiceOptions {
  /** Bytes of a request's body. */
  readonly largestBody?: number;
  /** Files of one request. */
  readonly mostFiles?: number;
  /** Judgements at a time: above it, 503. */
  readonly mostRunning?: number;
  /** May a request say for what time it is judged? */
  readonly allowAt?: boolean;
  /** By the name that a request asks for. */
  readonly tokens?: ReadonlyMap<string, TokenMaker>;
  readonly metrics?: ServiceMetrics;
}

const JSON_TYPE = "application/json";
const RAW_TYPE = "application/octet-stream";
const SPEC = "entresol-verify service, POST /v1/verify";

function refuse(status: 400 | 406 | 415 | 503, message: string): never {
  throw new HTTPException(status, { message });
}

/** A request's JSON. Strict: nobody reads what another does not see. */
function readRequest(bytes: Uint8Array): VerifyRequest {
  let value: unknown;
  try {
    value = jsonValue(jsonOf(parseStrictJson(bytes), "object", SPEC));
  } catch (error) {
    if (error instanceof MalformedError) refuse(400, error.message);
    throw error;
  }
  const parsed = verifyRequestSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  return refuse(
    400,
    parsed.error.issues.map(({ path, message }) => `/${path.map(String).join("/")}: ${message}`).join("; "),
  );
}

function bytesOf(pointer: string, text: string): Uint8Array {
  try {
    return decodeBase64(new TextEncoder().encode(text), "base64", SPEC);
  } catch (error) {
    if (error instanceof MalformedError) refuse(400, `${pointer}: not base64`);
    throw error;
  }
}

/** The service: takes evidence, gives verdicts. `judging` has the policy, the roots and the collateral; requests cannot change them. */
export function verificationService(judging: Judging, options: ServiceOptions = {}): OpenAPIHono {
  const {
    largestBody = 1 << 20,
    mostFiles = 64,
    mostRunning = 16,
    allowAt = false,
    tokens = new Map<string, TokenMaker>(),
    metrics = new ServiceMetrics(),
  } = options;
  const app = new OpenAPIHono();
  let running = 0;

  app.use(secureHeaders());
  app.onError((error, c) => {
    const status = error instanceof HTTPException ? error.status : 500;
    metrics.refusals.inc({ status });
    if (status === 503) c.header("retry-after", "1");
    // What broke inside is for the log, not for strangers.
    if (status === 500) process.stderr.write(`entresol-verify: ${error.stack ?? error.message}\n`);
    return c.json({ error: status === 500 ? "internal error" : error.message }, status);
  });
  app.notFound((c) => {
    metrics.refusals.inc({ status: 404 });
    return c.json({ error: "nothing is here: see /openapi.json" }, 404);
  });

  app.openAPIRegistry.registerPath({
    method: "post",
    path: "/v1/verify",
    summary: "Judge evidence",
    description:
      "Verifies the evidence and holds it against the service's policy. The answer is 200 for every verdict: read `verdict`. With `Accept: application/eat+jwt` or `application/eat+cwt` the answer is a signed token, where the service has a key.",
    request: {
      body: {
        required: true,
        content: {
          [JSON_TYPE]: { schema: verifyRequestSchema },
          [RAW_TYPE]: {
            schema: {
              type: "string",
              format: "binary",
              description: "one piece of evidence that needs nothing beside it",
            },
          },
        },
      },
    },
    responses: {
      200: {
        description: "the verdict",
        content: {
          [JSON_TYPE]: { schema: reportSchema },
          ...Object.fromEntries(
            [...tokens.keys()].map((type) => [type, { schema: { type: "string" as const } }]),
          ),
        },
      },
      400: { description: "not a request", content: { [JSON_TYPE]: { schema: refusalSchema } } },
      406: { description: "no such token is made here", content: { [JSON_TYPE]: { schema: refusalSchema } } },
      413: {
        description: `more than ${largestBody} bytes`,
        content: { [JSON_TYPE]: { schema: refusalSchema } },
      },
      415: { description: "a body of another type", content: { [JSON_TYPE]: { schema: refusalSchema } } },
      503: { description: "busy: try again", content: { [JSON_TYPE]: { schema: refusalSchema } } },
    },
  });

  app.post(
    "/v1/verify",
    bodyLimit({
      maxSize: largestBody,
      onError: (c) => {
        metrics.refusals.inc({ status: 413 });
        return c.json({ error: `more than ${largestBody} bytes` }, 413);
      },
    }),
    async (c) => {
      const accept = c.req.header("accept") ?? "";
      const wanted = [...tokens.keys()].find((type) => accept.includes(type));
      if (wanted === undefined && accept.includes("application/eat"))
        refuse(406, "this service makes no such token");
      const type = (c.req.header("content-type") ?? "").split(";")[0]?.trim().toLowerCase();
      if (type !== JSON_TYPE && type !== RAW_TYPE)
        refuse(415, `a body of ${JSON_TYPE} or ${RAW_TYPE} is needed`);
      // Before it counts as running: who sends slowly keeps nobody else waiting.
      const bytes = new Uint8Array(await c.req.arrayBuffer());
      if (running >= mostRunning) refuse(503, "too many judgements at a time");
      running++;
      metrics.running.set(running);
      try {
        const request: VerifyRequest = type === JSON_TYPE ? readRequest(bytes) : { files: {} };
        const { kind, at, nonce } = request;
        if (kind !== undefined && kindNamed(kind) === undefined)
          refuse(400, `/kind: one of ${kinds.map(({ name }) => name).join(", ")} is needed`);
        if (at !== undefined && !allowAt) refuse(400, "/at: this service judges for the present time only");
        timeOf(at);
        const files = Object.entries(request.files);
        if (files.length > mostFiles) refuse(400, `/files: more than ${mostFiles}`);
        const submission = judging.submission();
        const fresh = nonce === undefined ? undefined : bytesOf("/nonce", nonce);
        if (fresh !== undefined) {
          submission.take("nonce");
          submission.set("nonce", GIVEN_NONCE, fresh);
        }
        const main = kind === undefined ? undefined : kindNamed(kind)?.main;
        const add = (name: string, file: Uint8Array): void => {
          const understood = submission.add({ name, bytes: file });
          if (
            !understood &&
            !(main !== undefined && !submission.hasEvidence && submission.add({ name, bytes: file }, main))
          )
            submission.remarks.push({ name, text: "not used: nothing that is known" });
        };
        if (type === RAW_TYPE) add("body", bytes);
        for (const [name, text] of files) {
          add(name, bytesOf(`/files/${name}`, text));
        }
        if (type === JSON_TYPE && files.length === 0) refuse(400, "/files: no file");
        await openBundles(submission);
        const started = performance.now();
        const judgement = await judging.judge(
          "request",
          submission,
          {
            ...(kind !== undefined && { kind }),
            ...(at !== undefined && { at }),
          },
          { forToken: wanted !== undefined },
        );
        const label = judgement.outcome?.kind ?? "none";
        metrics.seconds.observe({ kind: label }, (performance.now() - started) / 1000);
        metrics.verdicts.inc({ kind: label, verdict: judgement.decision.verdict });
        if (wanted === undefined) return c.json(reportOf(judgement, judging.inputs));
        if (judgement.outcome === undefined) refuse(400, judgement.problem ?? "nothing that could be judged");
        const { type: tokenType, token } = await (tokens.get(wanted) as TokenMaker)(judgement, fresh);
        return c.body(typeof token === "string" ? token : new Uint8Array(token), 200, {
          "content-type": tokenType,
        });
      } catch (error) {
        if (error instanceof EntresolError) refuse(400, error.message);
        throw error;
      } finally {
        running--;
        metrics.running.set(running);
      }
    },
  );

  app.get("/healthz", (c) => c.json({ status: "ok", version: VERSION }));
  app.get("/metrics", async (c) =>
    c.body(await metrics.registry.metrics(), 200, { "content-type": metrics.registry.contentType }),
  );
  app.doc31("/openapi.json", {
    openapi: "3.1.0",
    info: {
      title: "entresol-verify",
      version: VERSION,
      description: "Judges evidence of confidential virtual machines, and says why.",
    },
  });
  return app;
}
