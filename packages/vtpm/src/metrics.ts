import type { Server } from "node:http";
import type { TpmHost } from "./tpm-host.ts";

/** What is counted, and how Prometheus is told of it (text exposition format 0.0.4). */
const metrics: readonly {
  readonly name: string;
  readonly type: "counter" | "gauge";
  readonly help: string;
  value(host: TpmHost): number;
}[] = [
  {
    name: "entresol_vtpm_commands_total",
    type: "counter",
    help: "TPM commands that were run.",
    value: (host) => host.commandCount,
  },
  {
    name: "entresol_vtpm_error_responses_total",
    type: "counter",
    help: "TPM commands that were answered with another code than TPM_RC_SUCCESS.",
    value: (host) => host.errorCount,
  },
  {
    name: "entresol_vtpm_command_seconds_total",
    type: "counter",
    help: "Time spent in TPM commands.",
    value: (host) => host.commandSeconds,
  },
  {
    name: "entresol_vtpm_key_searches_total",
    type: "counter",
    help: "Keys that were searched for on a thread of their own.",
    value: (host) => host.searchCount,
  },
  {
    name: "entresol_vtpm_power_cycles_total",
    type: "counter",
    help: "How often the TPM was given power.",
    value: (host) => host.startCount,
  },
  {
    name: "entresol_vtpm_powered",
    type: "gauge",
    help: "1 while the TPM has power.",
    value: (host) => (host.running ? 1 : 0),
  },
];

export function metricsText(host: TpmHost): string {
  return metrics
    .map(
      ({ name, type, help, value }) =>
        `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${name} ${value(host)}\n`,
    )
    .join("");
}

/** Serves the metrics over HTTP. Resolves when they can be asked for; rejects with the system's error. */
export async function serveMetrics(host: TpmHost, port: number, address: string): Promise<Server> {
  const { createServer } = await import("node:http");
  const server = createServer((request, response) => {
    if (request.method !== "GET" || request.url !== "/metrics") {
      response.writeHead(404).end();
      return;
    }
    response.setHeader("Content-Type", "text/plain; version=0.0.4");
    response.end(metricsText(host));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, address, () => {
      server.off("error", reject);
      resolve();
    });
  });
  return server;
}
