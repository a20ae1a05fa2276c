/*
 * From the start of the process to the answer to TPM2_Startup over TCP, and the memory that is resident then: beside a Node process that
 * only listens and answers, which is the least that a service under Node can cost. What swtpm needs is said too; a program of its size is out of reach.
 */
import { hasSwtpm, Service } from "./peers/servers.mjs";

const ROUNDS = 9;
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

export async function bench() {
  const kinds = hasSwtpm ? ["ours", "bare", "swtpm"] : ["ours", "bare"];
  const seen = Object.fromEntries(kinds.map((kind) => [kind, { times: [], sizes: [] }]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const kind of kinds) {
      const service = await Service.start(kind);
      seen[kind].times.push(service.startMs);
      if (service.residentMb !== undefined) seen[kind].sizes.push(service.residentMb);
      await service.stop();
    }
  }
  const rows = [];
  for (const [name, unit, list] of [
    ["start to first answer", "ms", "times"],
    ["memory after the first answer", "MB", "sizes"],
  ]) {
    const [ours, bare, swtpm] = kinds.map((kind) => median(seen[kind][list]));
    if (ours === undefined) continue;
    rows.push({ case: name, ours, peer: bare, peerName: "bare Node server", unit, ratio: bare / ours });
    if (swtpm !== undefined) rows.push({ case: `${name}: swtpm's`, peer: swtpm, peerName: "swtpm", unit });
  }
  return rows;
}
