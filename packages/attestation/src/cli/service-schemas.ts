import { z } from "@hono/zod-openapi";

/* What the service takes and gives, for its OpenAPI document. */

const base64 = z.string().meta({ format: "byte", description: "base64 (RFC 4648, 4)" });

export const verifyRequestSchema = z
  .strictObject({
    files: z.record(z.string().min(1).max(200), base64).meta({
      description:
        "the evidence and what goes with it, by file name: report.bin, vcek.der, quote.bin, tcbinfo.json, ... as the command line knows them",
      example: { "report.bin": "AgAAAA...", "vcek.der": "MIIF..." },
    }),
    kind: z.string().max(20).optional().meta({ description: "what it is, where bytes and names do not say" }),
    at: z
      .string()
      .max(40)
      .optional()
      .meta({ description: "judge for this time, ISO 8601: only where the service allows it" }),
    nonce: z.string().max(200).optional().meta({
      format: "byte",
      description: "base64: what a vTPM's quote must answer to; goes into the token",
    }),
  })
  .meta({ id: "VerifyRequest" });
export type VerifyRequest = z.infer<typeof verifyRequestSchema>;

const place = z.object({ input: z.string(), offset: z.number().int(), length: z.number().int() });

/** The shape of `reportOf`: `service.test.ts` holds them against each other. */
export const reportSchema = z
  .strictObject({
    verdict: z.enum(["accepted", "rejected", "unverified"]),
    kind: z.string().nullable(),
    evidence: z.string(),
    at: z.string().nullable(),
    tcb: z
      .strictObject({
        status: z.string(),
        platform: z.string(),
        module: z.string().nullable(),
        qe: z.string(),
        advisories: z.array(z.string()),
      })
      .nullable(),
    shortfall: z.array(z.string()),
    checks: z.array(
      z.strictObject({
        id: z.string(),
        result: z.enum(["passed", "failed", "not-run"]),
        title: z.string(),
        spec: z.string(),
        detail: z.string(),
        places: z.array(place),
      }),
    ),
    reasons: z.array(
      z.object({
        rule: z.string(),
        holds: z.boolean(),
        detail: z.string(),
        places: z.array(place),
        spec: z.string(),
        check: z.string(),
      }),
    ),
    missing: z.array(z.string()),
    trustVector: z.record(z.string(), z.unknown()),
    claims: z.unknown(),
    inputs: z.array(z.strictObject({ name: z.string(), sha256: z.string() })),
    window: z.strictObject({ from: z.string(), to: z.string() }).nullable(),
    remarks: z.array(z.string()),
    problem: z.string().nullable(),
  })
  .meta({ id: "Report" });

export const refusalSchema = z
  .strictObject({ error: z.string().meta({ description: "what is wrong with the request, in words" }) })
  .meta({ id: "Refusal" });
