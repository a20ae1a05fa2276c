import { type Command, InvalidArgumentError, Option } from "commander";
import { CollateralClient } from "../collateral/client.ts";
import { Completion, type Fetched } from "../collateral/completion.ts";
import type { ServiceBases, UpdateSet } from "../collateral/services.ts";
import { MemoryStore, TieredStore } from "../collateral/store.ts";
import type { Submission } from "../submission/submission.ts";
import { DiskStore, defaultCacheFolder } from "./disk-store.ts";
import { fetchThroughProxy } from "./proxied-fetch.ts";

/** Options of every command that may ask the services of AMD and Intel. */
export interface FetchingFlags {
  readonly fetch?: true;
  /** False with --no-cache. */
  readonly cache?: string | false;
  readonly kds?: string;
  readonly pcs?: string;
  readonly rootCrlService?: string;
  readonly proxy?: string;
  readonly update?: UpdateSet;
}

function base(text: string): string {
  try {
    const { protocol } = new URL(text);
    if (protocol === "https:" || protocol === "http:") return text;
  } catch {
    // Told below.
  }
  throw new InvalidArgumentError("an address that begins with https:// or http:// is needed.");
}

/** Adds these options to a command. */
export function withFetchingOptions(command: Command): Command {
  return command
    .optionsGroup("What is missing:")
    .option("--fetch", "ask AMD's and Intel's services for what is missing")
    .option("--cache <folder>", `where their answers are kept (default: ${defaultCacheFolder()})`)
    .option("--no-cache", "keep their answers in memory only")
    .option("--kds <url>", "AMD's key distribution service, or one in its place", base)
    .option("--pcs <url>", "Intel's provisioning certification service, or a caching one (PCCS)", base)
    .option(
      "--root-crl-service <url>",
      "where Intel's root publishes its list (default: with --pcs, there)",
      base,
    )
    .option("--proxy <url>", "HTTP proxy (default: HTTPS_PROXY, HTTP_PROXY and NO_PROXY of the environment)")
    .addOption(
      new Option("--update <set>", "which of Intel's sets")
        .choices(["standard", "early"])
        .default("standard"),
    );
}

/** A client as the flags want it. The key for Intel's service is taken from ENTRESOL_PCS_KEY: command lines can be read by others. */
export function clientOf(flags: FetchingFlags, { refreshBehind = false } = {}): CollateralClient {
  const memory = new MemoryStore();
  const services: Partial<Record<keyof ServiceBases, string>> = {};
  if (flags.kds !== undefined) services.kds = flags.kds;
  if (flags.pcs !== undefined) services.pcs = flags.pcs;
  if (flags.rootCrlService !== undefined) services.roots = flags.rootCrlService;
  const key = process.env["ENTRESOL_PCS_KEY"];
  return new CollateralClient({
    fetch: fetchThroughProxy(flags.proxy),
    store:
      flags.cache === false
        ? memory
        : new TieredStore(memory, new DiskStore(flags.cache ?? defaultCacheFolder())),
    services,
    refreshBehind,
    ...(key !== undefined && key !== "" && { subscriptionKey: key }),
  });
}

/** Fills in what submissions lack; problems become remarks on them. Undefined without --fetch. */
export function completerOf(
  flags: FetchingFlags,
  behaviour: { readonly refreshBehind?: boolean } = {},
): ((submission: Submission, at: number) => Promise<readonly Fetched[]>) | undefined {
  if (flags.fetch !== true) return undefined;
  const completion = new Completion(clientOf(flags, behaviour), {
    ...(flags.update !== undefined && { update: flags.update }),
    ...(flags.pcs !== undefined && flags.rootCrlService === undefined && { rootCrlFrom: "pcs" }),
  });
  return async (submission, at) => {
    const fetched = await completion.complete(submission, at);
    for (const { name, problem } of fetched)
      if (problem !== undefined) submission.remarks.push({ name, text: `could not be fetched: ${problem}` });
    return fetched;
  };
}
