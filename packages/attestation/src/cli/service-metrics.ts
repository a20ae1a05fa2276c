import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

/** What the service counts, for Prometheus. */
export class ServiceMetrics {
  readonly registry = new Registry();
  readonly verdicts: Counter<"kind" | "verdict">;
  readonly refusals: Counter<"status">;
  readonly seconds: Histogram<"kind">;
  readonly running: Gauge;

  constructor({ process: ofProcess = true } = {}) {
    const registers = [this.registry];
    this.verdicts = new Counter({
      name: "entresol_verify_verdicts_total",
      help: "Verdicts that were given",
      labelNames: ["kind", "verdict"],
      registers,
    });
    this.refusals = new Counter({
      name: "entresol_verify_refusals_total",
      help: "Requests that got no verdict, by HTTP status",
      labelNames: ["status"],
      registers,
    });
    this.seconds = new Histogram({
      name: "entresol_verify_seconds",
      help: "Time that a verdict took, fetching included",
      labelNames: ["kind"],
      buckets: [0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1, 5, 30],
      registers,
    });
    this.running = new Gauge({ name: "entresol_verify_running", help: "Judgements under way", registers });
    if (ofProcess) collectDefaultMetrics({ register: this.registry });
  }
}
