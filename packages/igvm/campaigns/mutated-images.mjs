// IGVM files, firmware images and EFI images with bytes changed, cut and moved, and numbers put where sizes stand: each is refused by
// MalformedError with an offset within the bytes, or measured, or refused by MeasurementError. An IGVM file that is read is built anew
// as a file that reads and is measured the same. Nothing is written to, and nothing takes long.
import { createHash } from "node:crypto";
import { MalformedError, toHex } from "@entresol/wire";
import {
  buildIgvm,
  efiImageDigest,
  MeasurementError,
  measureIgvmSnp,
  measureIgvmTdx,
  measureSnpLaunch,
  measureTdLaunch,
  parseIgvm,
  snpIdentityOf,
} from "../dist/index.js";
import { efiFile } from "../dist/testing/efi-file.js";
import { firmwareImage } from "../dist/testing/firmware-image.js";
import { mended, pageData, sampleHeaders } from "../dist/testing/sample-igvm.js";

export const description =
  "IGVM files and firmware images with bytes changed: refused by a code, or measured";
export const defaultCount = 1_000_000;

const STEP = 2000;
/** No input has more than some pages; what needs this long for one does more than it should, ms. */
const SLOW = 1000;

const hash = (name, ...parts) => {
  const state = createHash(name);
  for (const part of parts) state.update(part);
  return new Uint8Array(state.digest());
};

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

/** What a measurement comes to; the only errors are those of a file that fits no such launch. */
function measured(run) {
  try {
    return toHex(run());
  } catch (error) {
    if (error instanceof MeasurementError) return error.code;
    throw error;
  }
}

function igvm(bytes) {
  const file = parseIgvm(bytes);
  const again = parseIgvm(buildIgvm(file));
  for (const measure of [measureIgvmSnp, measureIgvmTdx]) {
    const [first, second] = [file, again].map((one) => measured(() => measure(hash, one)));
    if (first !== second) throw new Error(`measured as ${first}, and as ${second} when built anew`);
  }
  measured(() => snpIdentityOf(hash, file)?.block ?? new Uint8Array());
}

function firmware(bytes) {
  measured(() => measureSnpLaunch(hash, { firmware: bytes, vcpus: 2, signature: 0xa00f11 }));
  measured(() => measureTdLaunch(hash, bytes));
}

const kernel = efiFile({
  sections: [new Uint8Array(0x200).fill(0x90), new Uint8Array(0x200).fill(0xcc)],
  certificates: new Uint8Array(64).fill(1),
});

const samples = [
  {
    name: "IGVM file",
    bytes: buildIgvm({
      headers: [
        ...sampleHeaders.filter((header) => header.type !== "pageData"),
        pageData(0x1000n, { mask: 3 }),
        pageData(0x2000n, { mask: 3, data: new Uint8Array(4096).fill(1) }),
      ],
    }),
    // Headers are where the decisions are: what is behind them is data.
    within: 3000,
    mend: mended,
    run: igvm,
  },
  {
    name: "firmware image",
    bytes: firmwareImage({
      sev: [
        { gpa: 0x800000, size: 0x2000, type: 1 },
        { gpa: 0x802000, size: 0x1000, type: 2 },
        { gpa: 0x803000, size: 0x1000, type: 3 },
        { gpa: 0x804000, size: 0x1000, type: 16 },
      ],
      tdx: [
        { gpa: 0xfffff000, size: 0x1000, type: 0, offset: 0, rawSize: 0x1000, attributes: 1 },
        { gpa: 0x809000, size: 0x2000, type: 2 },
      ],
      resetVector: 0x80b004,
      hashTable: { gpa: 0x804c00, size: 0x400 },
    }),
    from: 0x800,
    run: firmware,
  },
  { name: "EFI image", bytes: kernel, within: 0x200, run: (bytes) => void efiImageDigest(hash, bytes) },
];

const numbers = [0, 1, 2, 4, 8, 16, 0x7f, 0x80, 0xff, 0xfff, 0x1000, 0x2000, 0xffff, 0x7fffffff, 0xffffffff];

function mutate({ bytes, from = 0, within = bytes.length, mend }, random) {
  const below = (limit) => random() % limit;
  let changed = bytes.slice();
  for (let times = 1 + below(4); times > 0; times--) {
    const at = from + below(Math.max(1, Math.min(within, changed.length) - from));
    const view = new DataView(changed.buffer);
    switch (below(6)) {
      case 0:
        if (at < changed.length) changed[at] ^= 1 << below(8);
        break;
      case 1:
        if (at < changed.length) changed[at] = below(256);
        break;
      case 2:
        if (at + 2 <= changed.length) view.setUint16(at, numbers[below(numbers.length)] & 0xffff, true);
        break;
      case 3:
        if (at + 4 <= changed.length) view.setUint32(at & ~3, numbers[below(numbers.length)], true);
        break;
      case 4:
        changed.copyWithin(at, from + below(changed.length), from + below(changed.length));
        break;
      default:
        if (below(8) === 0) changed = changed.slice(0, below(changed.length + 1));
    }
  }
  return mend !== undefined && below(4) !== 0 && changed.length >= 32 ? mend(changed) : changed;
}

/** Does it take long each time? A busy machine makes anything slow once. */
const slow = (run, bytes) =>
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
function judge({ name, run }, bytes) {
  const before = bytes.slice();
  const started = performance.now();
  try {
    run(bytes);
  } catch (error) {
    if (!(error instanceof MalformedError)) return `${name}: ${error?.stack ?? error}`;
    if (!(error.offset >= 0 && error.offset <= bytes.length)) return `${name}: offset ${error.offset}`;
  }
  if (performance.now() - started > SLOW && slow(run, bytes)) return `${name}: takes more than ${SLOW} ms`;
  return Buffer.compare(bytes, before) === 0 ? undefined : `${name}: the input was written to`;
}

export async function* run({ seed, count, position }) {
  let done = position - (position % STEP);
  while (done < count) {
    const last = Math.min(count, done + STEP);
    const messages = [];
    let mismatches = 0;
    for (let at = done; at < last; at++) {
      // Each case by itself, so that it does not matter where a run begins.
      const random = generator(BigInt(seed) * 1_000_003n + BigInt(at));
      const sample = samples[random() % samples.length];
      const bytes = mutate(sample, random);
      const problem = judge(sample, bytes);
      if (problem === undefined) continue;
      mismatches++;
      if (messages.length < 5) messages.push(`case ${at}: ${problem}`);
    }
    done = last;
    yield { position: done, mismatches, messages };
    await new Promise((resolve) => setImmediate(resolve));
  }
}
