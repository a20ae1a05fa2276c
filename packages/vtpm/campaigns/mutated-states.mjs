// Saved states with changed bits, lengths and ends, and halves of two states put together, wherever a state comes in: permanent and volatile to the engine,
// a machine's snapshot to its TPM, the files of a folder and of a single file to the store, with and without a key and an anchor. Whatever comes is refused
// by a TpmStateError, or is that of a TPM that answers: no exception out of `execute`, no failure mode by what it is asked, no second of work; and a
// store with a key gives back nothing that was not committed, with an anchor as well only the newest. One case is one state.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Cap, commands, Rc, Rh, Su, TpmReader, TpmWriter } from "@entresol/tpm-types";
import {
  FileNvStore,
  openState,
  SingleFile,
  StateKind,
  sealState,
  Tpm,
  TpmStateError,
} from "../../tpm/dist/index.js";
import { TpmClient } from "../../tpm/dist/testing/client.js";
import { goldenStates } from "../../tpm/dist/testing/golden-states.js";
import { createPrimary } from "../../tpm/dist/testing/objects.js";
import { eccSigningTemplate, sealTemplate } from "../../tpm/dist/testing/templates.js";
import { InlineExecutor } from "../dist/inline-executor.js";
import { MemoryStore } from "../dist/state-store.js";
import { TpmHost } from "../dist/tpm-host.js";

export const description = "mutated saved states, snapshots and store files: refused, or a TPM that works";
export const defaultCount = 100_000;

/** Cases of one step. */
const STEP = 500;
/** CPU time that no case may take, ms. */
const LONGEST = 1000;
const SHOWN = 3;
const COUNTER = 0x0150_0001;
const key = new Uint8Array(32).fill(0x6b);
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const same = (a, b) => Buffer.compare(a, b) === 0;

/** SplitMix32. */
function randomFrom(seed) {
  let state = seed >>> 0;
  const word = () => {
    state = (state + 0x9e37_79b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0_aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a_2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
  const below = (n) => word() % n;
  const pick = (choices) => choices[below(choices.length)];
  return { word, below, pick, rarely: (n) => below(n) === 0 };
}

/** The permanent and volatile states of TPM at several moments of their lives. */
function prepareStates() {
  const golden = goldenStates();
  const states = [
    { permanent: golden.permanent, volatile: golden.volatile },
    { permanent: golden.shutdown, volatile: golden.volatile },
  ];
  const note = (tpm) => states.push({ permanent: tpm.savePermanent(), volatile: tpm.saveVolatile() });
  const tpm = new Tpm();
  note(tpm);
  const client = new TpmClient(tpm);
  client.run("Startup", {}, { startupType: Su.CLEAR });
  note(tpm);
  createPrimary(client, eccSigningTemplate());
  createPrimary(client, sealTemplate(), { data: "sealed", hierarchy: Rh.NULL });
  client.session({ hash: 0x000d });
  note(tpm);
  tpm.hashStart();
  tpm.hashData(Uint8Array.of(1));
  tpm.hashEnd();
  client.run("Clear", { authHandle: Rh.PLATFORM }, {});
  note(tpm);
  const bank = [{ hash: 0x000b, pcrSelect: new Uint8Array(3).fill(0xff) }];
  client.run("PCR_Allocate", { authHandle: Rh.PLATFORM }, { pcrAllocation: bank });
  note(tpm);
  return states;
}

const numbers16 = [
  0, 1, 2, 4, 8, 16, 20, 31, 32, 33, 48, 64, 128, 255, 256, 512, 2048, 0x7fff, 0x8000, 0xffff,
];
const numbers32 = [
  ...numbers16,
  0x0200_0000,
  0x0300_0000,
  0x4000_0001,
  0x4000_0007,
  0x7fff_ffff,
  0x8000_0000,
];

/** A changed copy. `others`: states that parts may come from. */
function mutate(random, state, others) {
  const { below, pick, word, rarely } = random;
  let changed = new Uint8Array(state);
  const view = () => new DataView(changed.buffer, changed.byteOffset, changed.length);
  for (let times = 1 + below(4); times > 0; times--) {
    if (changed.length === 0) return changed;
    // The start says what it is: changed often enough.
    const at = rarely(12) ? below(Math.min(16, changed.length)) : below(changed.length);
    switch (below(10)) {
      case 0:
      case 1:
      case 2:
        changed[at] ^= 1 << below(8);
        break;
      case 3:
        changed[at] = pick([0, 1, 2, 3, 0x7f, 0x80, 0xff, below(256)]);
        break;
      case 4:
        if (at + 2 <= changed.length) view().setUint16(at, pick(numbers16));
        break;
      case 5:
        if (at + 4 <= changed.length)
          view().setUint32(at, rarely(3) ? word() : pick([...numbers32, 0xffff_ffff]));
        break;
      case 6:
        changed = changed.slice(0, at);
        break;
      case 7: {
        const more = Uint8Array.from({ length: 1 + below(40) }, () => below(256));
        changed = new Uint8Array(Buffer.concat([changed.subarray(0, at), more, changed.subarray(at)]));
        break;
      }
      case 8:
        changed = new Uint8Array(
          Buffer.concat([changed.subarray(0, at), changed.subarray(at + 1 + below(8))]),
        );
        break;
      default: {
        const other = pick(others);
        const from = rarely(2) ? Math.min(at, other.length) : below(other.length);
        changed = new Uint8Array(Buffer.concat([changed.subarray(0, at), other.subarray(from)]));
      }
    }
  }
  return changed;
}

const stateError = (error) => error instanceof TpmStateError;
/** What `action` gives; undefined when it is refused as a state. */
function unlessRefused(action) {
  try {
    return action();
  } catch (error) {
    if (stateError(error)) return undefined;
    throw error;
  }
}

/** Is it not refused as a state? */
function isTaken(action) {
  try {
    action();
    return true;
  } catch (error) {
    if (stateError(error)) return false;
    throw error;
  }
}

function command(code, handles, ...parameters) {
  const writer = new TpmWriter().u16(0x8001).u32(0).u32(code);
  for (const handle of handles) writer.u32(handle);
  for (const part of parameters) writer.bytes(part);
  writer.setU32(2, writer.length);
  return writer.finish();
}
function authorized(code, auths, handles, ...parameters) {
  const writer = new TpmWriter().u16(0x8002).u32(0).u32(code);
  for (const handle of handles) writer.u32(handle);
  writer.u32(9 * auths);
  for (let n = 0; n < auths; n++) writer.u32(Rh.PW).u16(0).u8(1).u16(0);
  for (const part of parameters) writer.bytes(part);
  writer.setU32(2, writer.length);
  return writer.finish();
}
const b = (...values) => Uint8Array.from(values);
const c = Object.fromEntries(Object.entries(commands).map(([name, { code }]) => [name, code]));
const startup = (type) => command(c.Startup, [], b(0, type));
const noScheme = b(0, 0x10);
const sha256All = b(0, 0, 0, 1, 0, 0x0b, 3, 0xff, 0xff, 0xff);
/** The template of a P-256 signing key, and what goes around it in CreatePrimary. */
const createEcc = Buffer.from("000400000000001a0023000b00040472000000100010000300100000000000000000", "hex");
const handles = [
  ...[0x8000_0000, 0x8000_0001, 0x8000_0002, 0x8100_0001, 0x8100_0002],
  ...Array.from({ length: 6 }, (_, n) => 0x0150_0000 + n),
  ...[0x0200_0000, 0x0200_0002, 0x0300_0000, 0x0300_0001, Rh.OWNER, Rh.ENDORSEMENT, Rh.NULL, 0, 7, 16, 23],
];
/** Commands that go through what a state holds; `h` is one of the handles, `n` another. */
const questions = [
  (h) => command(c.ReadPublic, [h]),
  (h) => command(c.NV_ReadPublic, [h]),
  (h) => authorized(c.NV_Read, 1, [Rh.OWNER, h], b(0, 8, 0, 0)),
  (h) => authorized(c.NV_Increment, 1, [Rh.OWNER, h]),
  (h) => authorized(c.NV_SetBits, 1, [Rh.OWNER, h], b(0, 0, 0, 0, 0, 0, 0, 7)),
  (h) => authorized(c.NV_Extend, 1, [Rh.OWNER, h], b(0, 1, 7)),
  (h) => authorized(c.NV_Write, 1, [Rh.OWNER, h], b(0, 2, 1, 2, 0, 0)),
  (h) => authorized(c.NV_UndefineSpace, 1, [Rh.OWNER, h]),
  (h) => command(c.ContextSave, [h]),
  (h) => command(c.FlushContext, [], new TpmWriter().u32(h).finish()),
  (h) => command(c.PolicyGetDigest, [h]),
  (h) => command(c.PolicyAuthValue, [h]),
  (h) => command(c.PolicyPCR, [h], b(0, 0), sha256All),
  (h) => command(c.PolicyRestart, [h]),
  (h) => authorized(c.SequenceUpdate, 1, [h], b(0, 1, 7)),
  (h) => authorized(c.SequenceComplete, 1, [h], b(0, 0, 0x40, 0, 0, 7)),
  (h) => authorized(c.Unseal, 1, [h]),
  (h) => authorized(c.Quote, 1, [h], b(0, 0), noScheme, sha256All),
  (h, n) => authorized(c.Certify, 2, [n, h], b(0, 0), noScheme),
  (h, n) => authorized(c.NV_Certify, 2, [h, Rh.OWNER, n], b(0, 0), noScheme, b(0, 4, 0, 0)),
  (h) => authorized(c.PCR_Event, 1, [h], b(0, 1, 7)),
  (h) => authorized(c.PCR_Reset, 1, [h]),
  (h) => authorized(c.EvictControl, 1, [Rh.OWNER, h], new TpmWriter().u32(0x8100_0009).finish()),
  (h) => authorized(c.CreatePrimary, 1, [h], createEcc, b(0, 0, 0, 0, 0, 0)),
  (h) => authorized(c.Commit, 1, [h], b(0, 0, 0, 0, 0, 0)),
  () => command(c.PCR_Read, [], sha256All),
  () => command(c.GetRandom, [], b(0, 8)),
  () => command(c.ReadClock, []),
  () => command(c.GetTestResult, []),
  () => command(c.SelfTest, [], b(1)),
  () => authorized(c.GetCommandAuditDigest, 2, [Rh.ENDORSEMENT, Rh.NULL], b(0, 0), noScheme),
  () => authorized(c.Clear, 1, [Rh.LOCKOUT]),
  () => authorized(c.ChangeEPS, 1, [Rh.PLATFORM]),
  () => authorized(c.DictionaryAttackLockReset, 1, [Rh.LOCKOUT]),
  () => command(c.Shutdown, [], b(0, 0)),
  () => command(c.Shutdown, [], b(0, 1)),
];
const capabilities = Object.values(Cap).map((capability) =>
  command(c.GetCapability, [], new TpmWriter().u32(capability).u32(0).u32(100).finish()),
);

/** Asks a TPM all kinds of things. Throws when an answer is none, or is that it has failed. */
function exercise(random, tpm, options) {
  const { pick, below, rarely } = random;
  const ask = (bytes) => {
    const response = tpm.execute(bytes, rarely(6) ? below(5) : 0);
    if (response.length < 10 || new TpmReader(response, 2).u32() !== response.length)
      throw new Error(`no response to ${hex(bytes)}: ${hex(response)}`);
    const rc = new TpmReader(response, 6).u32();
    if (rc === Rc.FAILURE || tpm.failed)
      throw options.failure() ?? new Error(`failure mode by ${hex(bytes)}: ${hex(response)}`);
    return rc;
  };
  const cycle = (type) => {
    tpm.powerOff();
    tpm.powerOn();
    ask(startup(type));
    if (type === Su.STATE) ask(startup(Su.CLEAR));
  };
  // A state says that its TPM has failed, as of one that did: power helps.
  if (tpm.failed) cycle(Su.CLEAR);
  if (tpm.failed) throw new Error("failure mode outlives power");
  ask(startup(rarely(2) ? Su.STATE : Su.CLEAR));
  ask(startup(Su.CLEAR));
  for (let n = 0; n < 14; n++) ask(pick(questions)(pick(handles), pick(handles)));
  ask(pick(capabilities));
  if (rarely(4)) cycle(pick([Su.STATE, Su.CLEAR]));
  if (rarely(8)) {
    tpm.hashStart();
    tpm.hashData(b(1));
    tpm.hashEnd();
    if (tpm.failed) throw options.failure() ?? new Error("failure mode by a measurement");
  }
  // What it saves then is a state.
  const again = new Tpm({ permanent: tpm.savePermanent() });
  again.restoreVolatile(tpm.saveVolatile());
}

function watched() {
  let failure;
  let time = 0;
  return {
    failure: () => failure,
    tpm: {
      // Time that does not hang on how fast this machine is.
      now: () => (time += 3),
      onFailure: (error) => {
        failure = error;
      },
    },
  };
}

/** Each way in: gives "refused" or "works". */
const ways = {
  permanent(random, states) {
    const others = states.map(({ permanent }) => permanent);
    const permanent = mutate(random, random.pick(others), others);
    const options = watched();
    const tpm = unlessRefused(() => new Tpm({ ...options.tpm, permanent }));
    if (tpm === undefined) return "refused";
    exercise(random, tpm, options);
    return "works";
  },

  volatile(random, states) {
    const others = states.map((state) => state.volatile);
    const { permanent, volatile } = random.pick(states);
    const changed = mutate(random, volatile, others);
    const options = watched();
    const tpm = new Tpm({ ...options.tpm, permanent });
    const before = tpm.saveVolatile();
    const restored = isTaken(() => tpm.restoreVolatile(changed));
    if (!restored && !same(tpm.saveVolatile(), before)) throw new Error("refused, and changed all the same");
    exercise(random, tpm, options);
    return restored ? "works" : "refused";
  },

  snapshot(random, states) {
    const options = watched();
    const host = new TpmHost({ store: new MemoryStore(), tpm: options.tpm });
    const executor = new InlineExecutor(host);
    executor.power(true);
    executor.start(startup(Su.CLEAR), 0);
    executor.poll();
    const before = executor.save();
    const { permanent, volatile } = random.pick(states);
    // Changed inside, under a checksum that is right, or outside.
    const blob = (kind, state, others) => {
      if (random.rarely(3)) return sealState(kind, 0n, state, undefined);
      if (random.rarely(2)) return sealState(kind, 0n, mutate(random, state, others), undefined);
      const sealed = sealState(kind, 0n, state, undefined);
      return mutate(random, sealed, [sealed]);
    };
    const changed = {
      version: 1,
      powered: !random.rarely(4),
      established: random.rarely(2),
      bufferSize: random.pick([0, 4096, 2808, 0xffff_ffff]),
      permanent: blob(
        StateKind.permanent,
        permanent,
        states.map((state) => state.permanent),
      ),
      volatile: blob(
        StateKind.volatile,
        volatile,
        states.map((state) => state.volatile),
      ),
    };
    const restored = isTaken(() => executor.restore(changed));
    if (!restored) {
      const after = executor.save();
      for (const part of ["permanent", "volatile"])
        if (
          !same(openState(StateKind[part], after[part]).state, openState(StateKind[part], before[part]).state)
        )
          throw new Error(`refused, and another ${part} state all the same`);
    }
    if (!executor.powered) return restored ? "works" : "refused";
    for (let n = 0; n < 6; n++) {
      const asked = random.pick(questions)(random.pick(handles), random.pick(handles));
      executor.start(asked, 0);
      const response = executor.poll();
      if (response === undefined || new TpmReader(response, 2).u32() !== response.length)
        throw new Error(`no response to ${hex(asked)}`);
      // One that was saved in failure mode is in failure mode.
      if (options.failure() !== undefined) throw options.failure();
    }
    return restored ? "works" : "refused";
  },

  folder: (random, states, place) => store(random, states, place, "folder"),
  file: (random, states, place) => store(random, states, place, "file"),
};

/** Value of the counter in a permanent state's TPM; undefined: there is none. */
function counterOf(permanent) {
  const client = new TpmClient({ permanent, now: () => 0 });
  client.run("Startup", {}, { startupType: Su.CLEAR });
  try {
    const asked = { size: 8, offset: 0 };
    const { data } = client.run("NV_Read", { authHandle: Rh.OWNER, nvIndex: COUNTER }, asked);
    return new TpmReader(data).u64();
  } catch {
    return undefined;
  }
}

const anchored = (epoch) => ({
  epoch,
  read() {
    return this.epoch;
  },
  advance(next) {
    this.epoch = next;
  },
});

/** What a store was given, and its files: made once for each kind. */
const prepared = new Map();
function preparedFiles(states, place, kind, encrypted) {
  const name = `${kind}-${encrypted}`;
  const found = prepared.get(name);
  if (found !== undefined) return found;
  const path = join(place, `${name}-made`);
  if (kind === "folder") mkdirSync(path);
  const options = { ...(encrypted && { key }), ...(kind === "file" && { files: new SingleFile(0o600) }) };
  const files = FileNvStore.open(path, options);
  const tpm = new Tpm({ permanent: states[0].permanent, store: files, now: () => 0 });
  const client = new TpmClient(tpm);
  client.run("Startup", {}, { startupType: Su.CLEAR });
  const committed = [];
  for (let n = 0; n < 4; n++) {
    client.run("NV_Increment", { authHandle: Rh.OWNER, nvIndex: COUNTER }, {});
    committed.push(tpm.savePermanent());
  }
  files.saveVolatile(tpm.saveVolatile());
  const { epoch } = files;
  files.close();
  const [newest, before] = [committed.at(-1), committed.at(-2)];
  const disk = sealFiles(kind, path);
  const made = { disk, epoch, newest, before, counter: counterOf(newest), volatile: tpm.saveVolatile() };
  prepared.set(name, made);
  return made;
}

const names = ["tpm2-0.state", "tpm2-1.state", "tpm2-volatile.state"];
function sealFiles(kind, path) {
  if (kind === "file") return [["", readFileSync(path)]];
  return names.map((name) => [name, readFileSync(join(path, name))]);
}

/** Places of a single file where something is: its areas' beginnings. */
const AREAS = [4096, 4096 + 2 ** 20, 4096 + 2 ** 21];

function store(random, states, place, kind) {
  const { rarely, below } = random;
  const encrypted = rarely(2);
  const withAnchor = rarely(2);
  const made = preparedFiles(states, place, kind, encrypted);
  const path = join(place, kind);
  rmSync(path, { recursive: true, force: true });
  if (kind === "folder") mkdirSync(path);
  const others = made.disk.map(([, bytes]) => bytes);
  for (const [name, bytes] of made.disk) {
    if (kind === "file") {
      let changed = Buffer.from(bytes);
      for (const at of AREAS) {
        if (rarely(3) || at >= changed.length) continue;
        const area = changed.subarray(at, at + 6000);
        const damaged = Buffer.from(
          mutate(random, area, [area, bytes.subarray(AREAS[below(3)]).subarray(0, 6000)]),
        );
        damaged.copy(area, 0, 0, Math.min(damaged.length, area.length));
      }
      if (rarely(20)) changed = changed.subarray(0, below(changed.length));
      writeFileSync(path, changed);
    } else if (rarely(3)) writeFileSync(join(path, name), bytes);
    else if (!rarely(20)) {
      let changed = mutate(random, bytes, others);
      // Whoever can write there can make a checksum.
      if (!encrypted && rarely(2)) {
        const inside = kind === "folder" && name.includes("volatile") ? made.volatile : made.newest;
        const stateKind = name.includes("volatile") ? StateKind.volatile : StateKind.permanent;
        const epoch = random.pick([made.epoch, made.epoch - 1n, made.epoch + 1n, 0n, 2n ** 64n - 1n]);
        changed = sealState(
          stateKind,
          epoch,
          mutate(random, inside, [made.newest, made.volatile]),
          undefined,
        );
      }
      writeFileSync(join(path, name), changed);
    }
  }
  const anchor = anchored(made.epoch);
  const open = () =>
    FileNvStore.open(path, {
      ...(encrypted && { key }),
      ...(withAnchor && { anchor }),
      ...(kind === "file" && { files: new SingleFile(undefined) }),
    });
  const files = open();
  try {
    const permanent = unlessRefused(() => files.load() ?? null);
    if (permanent === undefined) return "refused";
    if (withAnchor && files.epoch < made.epoch) throw new Error("older than the anchor, and taken");
    if (withAnchor && permanent === null) throw new Error("nothing there, and the anchor knows a state");
    if (encrypted && permanent !== null) {
      const newest = same(permanent, made.newest);
      if (!newest && (withAnchor || !same(permanent, made.before)))
        throw new Error("a state that was not committed last");
      const counter = counterOf(permanent);
      if (withAnchor && counter !== made.counter)
        throw new Error(`a counter went from ${made.counter} to ${counter}`);
      if (!newest && !files.fellBack) throw new Error("the state before, and nobody says so");
    }
    const running = unlessRefused(() => files.loadVolatile());
    if (encrypted && running !== undefined && !same(running, made.volatile))
      throw new Error("a volatile state that was not saved");
    const options = watched();
    const tpm = unlessRefused(
      () => new Tpm({ ...options.tpm, ...(permanent !== null && { permanent }), store: files }),
    );
    if (tpm === undefined) return "refused";
    if (running !== undefined) unlessRefused(() => tpm.restoreVolatile(running));
    // The epoch that a forger wrote may be the last one that there is.
    if (files.epoch < 2n ** 63n) exercise(random, tpm, options);
    const last = tpm.savePermanent();
    files.commit(last);
    files.close();
    const next = open();
    const found = next.load();
    next.close();
    if (!same(found, last)) throw new Error("what was committed is not what is there");
    return "works";
  } finally {
    files.close();
  }
}

export async function* run({ seed, count, position }) {
  const states = prepareStates();
  // Memory, where there is some: no disk is slow enough to matter.
  const memory = "/dev/shm";
  const place = mkdtempSync(join(existsSync(memory) ? memory : tmpdir(), "entresol-mutated-states-"));
  prepared.clear();
  const outcomes = {};
  try {
    for (let done = position; done < count; ) {
      const messages = [];
      const last = Math.min(count, done + STEP);
      for (; done < last; done++) {
        const random = randomFrom(createHash("sha256").update(`${seed} ${done}`).digest().readUInt32BE(0));
        const way = random.pick([
          "permanent",
          "permanent",
          "volatile",
          "volatile",
          "snapshot",
          "folder",
          "file",
        ]);
        const began = process.cpuUsage();
        try {
          const outcome = `${way} ${ways[way](random, states, place)}`;
          outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
        } catch (error) {
          messages.push(`case ${done} (${way}): ${error instanceof Error ? error.stack : String(error)}`);
        }
        const { user, system } = process.cpuUsage(began);
        if ((user + system) / 1000 > LONGEST)
          messages.push(`case ${done} (${way}): ${(user + system) / 1000} ms`);
      }
      const summary = Object.entries(outcomes).map(([outcome, times]) => `${outcome} ${times}`);
      if (done === count) console.error(`  ${summary.toSorted().join(", ")}`);
      yield { position: done, mismatches: messages.length, messages: messages.slice(0, SHOWN) };
    }
  } finally {
    rmSync(place, { recursive: true });
  }
}
