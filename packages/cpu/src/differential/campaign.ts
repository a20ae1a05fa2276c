import { once } from "node:events";
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { type Mismatch, mismatchText, type SessionOptions, type Tally } from "./session.ts";

/** What a campaign is asked for: `position` is where an earlier run with the same seed stopped. */
export interface CampaignRequest {
  readonly seed: number;
  readonly count: number;
  readonly position: number;
}

/** One step: all cases below `position` are done. */
export interface CampaignStep {
  readonly position: number;
  /** Mismatches found in this step. */
  readonly mismatches: number;
  /** One line per mismatch, as many as are kept. */
  readonly messages: readonly string[];
  readonly details: readonly Mismatch[];
}

const CHUNK = 16384;

/** The differential test as a campaign, on one worker per core. */
export async function* differentialCampaign(
  request: CampaignRequest,
  options: Omit<SessionOptions, "seed">,
): AsyncGenerator<CampaignStep> {
  const { seed, count } = request;
  const threads = Math.max(
    1,
    Math.min(availableParallelism(), Math.ceil((count - request.position) / CHUNK)),
  );
  const workers: Worker[] = [];
  try {
    for (let i = 0; i < threads; i++) {
      workers.push(new Worker(new URL("./worker.js", import.meta.url), { workerData: { ...options, seed } }));
    }
    await Promise.all(workers.map((worker) => once(worker, "message")));
    const finished = new Map<number, Tally>();
    let next = request.position;
    let position = request.position;
    const running = new Map<Worker, Promise<void>>();
    const give = (worker: Worker) => {
      if (next >= count) return;
      const from = next;
      const size = Math.min(CHUNK, count - from);
      next += size;
      const answer = once(worker, "message").then(([message]) => {
        finished.set(from, message as Tally);
        running.delete(worker);
        give(worker);
      });
      running.set(worker, answer);
      worker.postMessage({ from, count: size });
    };
    for (const worker of workers) give(worker);
    while (position < count) {
      if (!finished.has(position)) await Promise.race(running.values());
      let mismatches = 0;
      const details: Mismatch[] = [];
      for (let tally = finished.get(position); tally !== undefined; tally = finished.get(position)) {
        finished.delete(position);
        position += tally.cases;
        mismatches += tally.mismatches;
        details.push(...tally.details);
      }
      yield { position, mismatches, messages: details.map(mismatchText), details };
    }
  } finally {
    for (const worker of workers) worker.postMessage("close");
  }
}
