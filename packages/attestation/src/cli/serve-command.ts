import { serve } from "@hono/node-server";
import { Command } from "commander";
import { CommandError, EXIT_ACCEPTED } from "./exit-status.ts";
import { type TokenMaker, verificationService } from "./http-service.ts";
import { Judging, type JudgingFlags, withJudgingOptions } from "./judging.ts";
import { keyOf, type TokenForm, tokenForms, tokenOf } from "./tokens.ts";

interface ServeFlags extends JudgingFlags {
  readonly listen: string;
  readonly maxBody: number;
  readonly maxConcurrent: number;
  readonly allowAt?: true;
  readonly key?: string;
  readonly lifetime?: number;
}

/** Milliseconds in which a request must have come. */
const REQUEST_TIMEOUT = 30_000;

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new CommandError(`"${text}" is not a number above zero`);
  return value;
}

/** "127.0.0.1:8080", "[::1]:8080", "8080". */
export function addressOf(text: string): { readonly hostname: string; readonly port: number } {
  const match = /^(?:(\[[0-9a-fA-F:]+\]|[^:]+):)?(\d{1,5})$/.exec(text);
  const port = Number(match?.[2]);
  if (match === null || port > 65535)
    throw new CommandError(`--listen ${text}: take an address such as 127.0.0.1:8080`);
  return { hostname: (match[1] ?? "127.0.0.1").replace(/^\[|\]$/g, ""), port };
}

/** `entresol-verify serve`: verdicts over HTTP. */
export function serveCommand(finish: (status: number) => void): Command {
  const command = new Command("serve")
    .description(
      "Takes evidence by HTTP (POST /v1/verify) and answers with verdicts. /openapi.json describes it, /metrics counts.",
    )
    .option("--listen <address>", "address and port", "127.0.0.1:8080")
    .option("--max-body <bytes>", "largest request", positive, 1 << 20)
    .option("--max-concurrent <number>", "judgements at a time", positive, 16)
    .option(
      "--key <file>",
      "private key for tokens, which requests ask for by Accept: application/eat+jwt or application/eat+cwt",
    )
    .option("--lifetime <seconds>", "for how long tokens hold", positive)
    .option("--allow-at", "let requests say for what time they are judged");
  return withJudgingOptions(command).action(async (flags: ServeFlags) => {
    const address = addressOf(flags.listen);
    const judging = await Judging.open(flags, { refreshBehind: true });
    const tokens = new Map<string, TokenMaker>();
    if (flags.key !== undefined) {
      const key = await keyOf(flags.key);
      for (const [form, { type }] of Object.entries(tokenForms))
        tokens.set(type, async (judgement, nonce) => ({
          type,
          token: await tokenOf(judgement, form as TokenForm, key, { lifetime: flags.lifetime, nonce }),
        }));
    }
    const app = verificationService(judging, {
      largestBody: flags.maxBody,
      mostRunning: flags.maxConcurrent,
      allowAt: flags.allowAt === true,
      tokens,
    });
    await new Promise<void>((resolve, reject) => {
      const server = serve(
        { fetch: app.fetch, ...address, serverOptions: { requestTimeout: REQUEST_TIMEOUT } },
        ({ address: host, port, family }) =>
          process.stdout.write(`listening on http://${family === "IPv6" ? `[${host}]` : host}:${port}\n`),
      );
      // Requests under way are answered, idle connections are not waited for.
      const stop = (): void => {
        server.close();
        if ("closeIdleConnections" in server) server.closeIdleConnections();
      };
      const forget = (): void => {
        process.off("SIGINT", stop);
        process.off("SIGTERM", stop);
      };
      process.once("SIGINT", stop);
      process.once("SIGTERM", stop);
      server.on("error", (error) => {
        forget();
        reject(error);
      });
      server.on("close", () => {
        forget();
        resolve();
      });
    });
    finish(EXIT_ACCEPTED);
  });
}
