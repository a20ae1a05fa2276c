// Evidence of every kind with bytes changed, cut, moved, joined, and numbers put where sizes stand: each parser refuses it by
// MalformedError with an offset within the bytes, or gives a value from which the builders make the same bytes again. Nothing is
// written to, and nothing takes long.
import { MalformedError, toHex } from "@entresol/wire";
import { identifyEvidence, parseEventLog, parseStrictJson, parseVtpmEvidence } from "../dist/index.js";
import { sampleEvidence } from "../dist/testing/sample-evidence.js";

export const description = "evidence of every kind with bytes changed: refused by a code, or rebuilt";
export const defaultCount = 1_000_000;

const STEP = 5000;
/** No input has more than a few kilobytes; a parser that needs this long for one does more than it should, ms. */
const SLOW = 250;
/** Kinds in which a value has one encoding. */
const exact = (name) => !/HCL claims|JSON|PEM|certificate table|SVSM/.test(name);
/** Parsers without a builder: these only have to end well. */
const readers = [identifyEvidence, parseEventLog, parseVtpmEvidence, (bytes) => parseStrictJson(bytes)];

/** SplitMix64, cut to 32 bits. */
function generator(seed) {
  let state = BigInt.asUintN(64, BigInt(seed) * 0x9e3779b97f4a7c15n);
  return () => {
    state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n);
    let z = state;
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return Number((z ^ (z >> 31n)) & 0xffffffffn);
  };
}

const numbers = [
  0, 1, 2, 4, 5, 6, 7, 0x7f, 0x80, 0xff, 0x180, 0x248, 0x288, 0x400, 0x7fff, 0xffff, 0x7fffffff, 0xffffffff,
];

function mutate(bytes, others, random) {
  const below = (limit) => random() % limit;
  const pick = (list) => list[below(list.length)];
  let changed = bytes.slice();
  for (let times = 1 + below(4); times > 0; times--) {
    if (changed.length === 0) return changed;
    const at = below(changed.length);
    const view = new DataView(changed.buffer, changed.byteOffset, changed.byteLength);
    switch (below(9)) {
      case 0:
        changed[at] ^= 1 << below(8);
        break;
      case 1:
        changed[at] = below(256);
        break;
      case 2:
        if (at + 2 <= changed.length) view.setUint16(at, pick(numbers) & 0xffff, below(2) === 0);
        break;
      case 3:
        if (at + 4 <= changed.length) view.setUint32(at, pick(numbers), below(2) === 0);
        break;
      case 4:
        changed = changed.slice(0, at);
        break;
      case 5: {
        const longer = new Uint8Array(changed.length + 1 + below(40));
        longer.set(changed.subarray(0, at));
        longer.set(changed.subarray(at), longer.length - (changed.length - at));
        changed = longer;
        break;
      }
      case 6:
        changed.copyWithin(at, below(changed.length), below(changed.length));
        break;
      case 7: {
        const other = pick(others);
        const from = below(other.length);
        changed.set(other.subarray(from, from + Math.min(64, changed.length - at)), at);
        break;
      }
      default: {
        const shorter = new Uint8Array(changed.length - 1);
        shorter.set(changed.subarray(0, at));
        shorter.set(changed.subarray(at + 1), at);
        changed = shorter;
      }
    }
  }
  return changed;
}

/** Does it take long each time? A busy machine makes anything slow once. */
const slow = (bytes, run) =>
  [1, 2, 3].every(() => {
    const started = performance.now();
    try {
      run(bytes);
    } catch {
      // What it throws was judged already.
    }
    return performance.now() - started > SLOW;
  });

/** What is wrong with how these bytes are taken; undefined when nothing is. */
function judge(name, bytes, run) {
  const before = bytes.slice();
  const started = performance.now();
  let result;
  try {
    result = run(bytes);
  } catch (error) {
    if (!(error instanceof MalformedError)) return `${name}: ${error?.stack ?? error}`;
    if (!(error.offset >= 0 && error.offset <= bytes.length)) return `${name}: offset ${error.offset}`;
  }
  if (performance.now() - started > SLOW && slow(bytes, run)) return `${name}: takes more than ${SLOW} ms`;
  if (Buffer.compare(bytes, before) !== 0) return `${name}: the input was written to`;
  if (result instanceof Uint8Array && exact(name) && Buffer.compare(result, bytes) !== 0)
    return `${name}: rebuilt to other bytes`;
  return undefined;
}

export async function* run({ seed, count, position }) {
  const samples = sampleEvidence();
  const all = samples.map(({ bytes }) => bytes);
  let done = position - (position % STEP);
  while (done < count) {
    const last = Math.min(count, done + STEP);
    const messages = [];
    let mismatches = 0;
    for (let at = done; at < last; at++) {
      // Each case by itself, so that it does not matter where a run begins.
      const random = generator(BigInt(seed) * 1_000_003n + BigInt(at));
      const sample = samples[random() % samples.length];
      const bytes = mutate(sample.bytes, all, random);
      const problem =
        judge(sample.name, bytes, sample.rebuild) ??
        readers
          .map((reader) => judge(reader.name || "strict JSON", bytes, (input) => void reader(input)))
          .find(Boolean);
      if (problem === undefined) continue;
      mismatches++;
      if (messages.length < 5) messages.push(`case ${at}: ${problem}\n    ${toHex(bytes.subarray(0, 64))}`);
    }
    done = last;
    yield { position: done, mismatches, messages };
    await new Promise((resolve) => setImmediate(resolve));
  }
}
