import type { Server } from "node:http";
import type { TpmHost } from "../tpm-host.ts";
import { portNumber } from "./channel-options.ts";
import { isDaemon, tellStarted } from "./daemon.ts";
import { EXIT_OK } from "./exit-status.ts";
import { writeProcessId } from "./process-id.ts";

/** What runs until it is asked to end. */
export interface Service {
  readonly ended: Promise<void>;
  close(): Promise<void>;
}

export interface LifeOptions {
  readonly host: TpmHost;
  /** `--pid`. */
  readonly pid: string | undefined;
  /** `--metrics`: a port on the loopback address. */
  readonly metrics: string | undefined;
}

const signals = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

/**
 * Opens a service, says that it is there (`--pid`, and whoever waits for a service in the background), and closes it in good order when it
 * is over or a signal says so. Gives the exit status. Throws what opening throws.
 */
export async function serveUntilEnd(open: () => Promise<Service>, options: LifeOptions): Promise<number> {
  const service = await open();
  let removeProcessId = (): void => {};
  let metrics: Server | undefined;
  let stop = (): void => {};
  const stopped = new Promise<void>((resolve) => {
    stop = resolve;
  });
  try {
    if (options.metrics !== undefined) {
      const { serveMetrics } = await import("../metrics.ts");
      metrics = await serveMetrics(options.host, portNumber("--metrics", options.metrics), "127.0.0.1");
    }
    removeProcessId = writeProcessId(options.pid);
    for (const name of signals) process.once(name, stop);
    if (isDaemon()) await tellStarted({ ready: true });
    await Promise.race([service.ended, stopped]);
  } finally {
    for (const name of signals) process.off(name, stop);
    metrics?.closeAllConnections();
    metrics?.close();
    await service.close();
    removeProcessId();
  }
  return EXIT_OK;
}
