/**
 * Runs `ours` and `peer` in turns, so that a slow moment of the machine hits both, and compares the medians. Time is the process's
 * CPU time: other processes do not count. `ratio` above 1 means ahead of the peer.
 */
export function compare(name, ours, peer, peerName, { iterations = 400_000, rounds = 15 } = {}) {
  const oursLoop = loopFor(ours);
  const peerLoop = loopFor(peer);
  const oursTimes = [];
  const peerTimes = [];
  for (let round = -3; round < rounds; round++) {
    const first = oursLoop(iterations);
    const second = peerLoop(iterations);
    if (round < 0) continue; // warming up
    oursTimes.push(first);
    peerTimes.push(second);
  }
  const oursMedian = median(oursTimes);
  const peerMedian = median(peerTimes);
  return {
    case: name,
    ours: oursMedian,
    peer: peerMedian,
    peerName,
    unit: "ns",
    ratio: peerMedian / oursMedian,
  };
}

let sink = 0;

/** A loop of its own for each function: shared by several, its call site would be slow for all but the first. */
function loopFor(action) {
  const loop = new Function(
    "action",
    "return function (count) { let sum = 0; for (let i = 0; i < count; i++) sum += action(i) | 0; return sum; };",
  )(action);
  return (count) => {
    const before = process.cpuUsage();
    sink += loop(count);
    const { user, system } = process.cpuUsage(before);
    return ((user + system) * 1000) / count;
  };
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

/** Read by nobody; keeps the loops from being optimised away. */
export function consumed() {
  return sink;
}
