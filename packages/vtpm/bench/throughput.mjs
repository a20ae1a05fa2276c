/*
 * One client and one command at a time, to this service and to swtpm, each started by its command line: microseconds from the call with a command's fields
 * to those of its response, medians. Both are asked in turns, so that a slow moment of the machine hits both. State is in memory (tmpfs)
 * for both, but for the rows that say "disk"; there it counts that swtpm answers without waiting until the disk has what was written (it
 * never calls fsync), while this service does.
 */
import { tmpdir } from "node:os";
import { Client } from "./peers/client.mjs";
import { onDisk, operations, overUnix } from "./peers/operations.mjs";
import { hasSwtpm, Service } from "./peers/servers.mjs";

const ROUNDS = 30;
/** Steps in a row, of an operation of share 1, before it is the other's turn. */
const STEPS = 20;
/** Steps before, of an operation of share 1: a service that runs, not one that was just started and is compiled as it goes. */
const WARM = 2000;

const only = process.env.ENTRESOL_BENCH_ONLY;
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

async function steps({ step, after }, count, times) {
  for (let i = 0; i < count; i++) {
    const began = performance.now();
    const response = await step();
    times?.push((performance.now() - began) * 1000);
    await after?.(response);
  }
}

async function row({ name, prepare, share }, place, services) {
  const sides = [];
  for (const service of services) {
    const client = new Client(service.line);
    sides.push({ client, work: await prepare(client), times: [] });
  }
  for (const { work } of sides) await steps(work, Math.ceil(WARM * share * share));
  const count = Math.max(1, Math.round(STEPS * share));
  for (let round = 0; round < ROUNDS; round++)
    for (const { work, times } of sides) await steps(work, count, times);
  for (const { client, work } of sides) {
    for (const handle of work.handles ?? []) await client.flush(handle);
    await work.end?.();
  }
  const [ours, peer] = sides.map(({ times }) => median(times));
  return {
    case: `${name}${place}`,
    ours,
    peer,
    peerName: "swtpm",
    unit: "us",
    ratio: peer === undefined ? undefined : peer / ours,
  };
}

/** What remains when nothing is behind the socket: one answer of a Node process that does no more than that. */
async function floor(place, options) {
  const service = await Service.start("bare", options);
  const times = [];
  for (let i = -WARM; i < ROUNDS * STEPS; i++) {
    const began = performance.now();
    await service.line.send(Buffer.from("80010000000c0000017b0020", "hex"));
    if (i >= 0) times.push((performance.now() - began) * 1000);
  }
  await service.stop();
  return {
    case: `no TPM, an answer at once${place}`,
    peer: median(times),
    peerName: "bare Node server",
    unit: "us",
  };
}

async function rows(chosen, place, options) {
  const wanted = chosen.filter(({ name }) => only === undefined || name.includes(only));
  if (wanted.length === 0) return [];
  const services = [];
  const all = [];
  try {
    for (const kind of hasSwtpm ? ["ours", "swtpm"] : ["ours"])
      services.push(await Service.start(kind, options));
    for (const operation of wanted) all.push(await row(operation, place, services));
    if (options.on === undefined) all.push(await floor(place, options));
  } finally {
    for (const service of services) await service.stop();
  }
  return all;
}

export async function bench() {
  return [
    ...(await rows(operations, "", {})),
    ...(await rows(
      operations.filter(({ name }) => overUnix.has(name)),
      ", unix socket",
      { over: "unix" },
    )),
    ...(await rows(
      operations.filter(({ name }) => onDisk.has(name)),
      ", disk (swtpm's is not synced)",
      { on: tmpdir() },
    )),
  ];
}
