// Control messages and state blobs that were altered, over real sockets, several clients at a time: whatever comes, the service answers with a
// code that it has or ends the connection, takes no altered state, and serves the next client.
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { controlCommands, MemoryStore, Result, SocketService, TpmHost } from "../dist/index.js";

export const description = "altered control messages and states over sockets";
export const defaultCount = 100_000;

/** Clients at a time, and messages of one batch, after which the service is looked at. */
const CLIENTS = 8;
const BATCH = 200;
/** A client goes when nothing came for so many ms: an incomplete message has no answer. */
const PATIENCE = 4;
/** Longest that the service may take for an honest client, in ms. */
const HANG = 1000;

const results = new Set(Object.values(Result));
const SET_STATEBLOB = 0x0d;
/** They end the service, which is no fault. */
const ending = new Set([0x03]);
const codes = controlCommands.map(({ code }) => code).filter((code) => !ending.has(code));

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

function words(...values) {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [i, value] of values.entries()) bytes.writeUInt32BE(value >>> 0, 4 * i);
  return bytes;
}

const randomBytes = (random, length) => Buffer.from(Array.from({ length }, () => random() & 0xff));

/** A few bits, a piece left out or put in twice, or the end cut off. */
function altered(random, original) {
  const bytes = Buffer.from(original);
  const at = bytes.length === 0 ? 0 : random() % bytes.length;
  const length = 1 + (random() % 16);
  switch (random() % 4) {
    case 0:
      for (let flips = 1 + (random() % 4); flips > 0 && bytes.length > 0; flips--)
        bytes[random() % bytes.length] ^= 1 << (random() & 7);
      return bytes;
    case 1:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    case 2:
      return Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
    default:
      return bytes.subarray(0, at);
  }
}

/** A message, and the state in it when it has one. */
function message(random, states) {
  const kind = random() % 8;
  if (kind < 3) {
    const which = 1 + (random() & 1);
    const state = random() % 16 === 0 ? states[which] : altered(random, states[which]);
    const flags = random() % 4 === 0 ? random() & 3 : 0;
    return { bytes: Buffer.concat([words(SET_STATEBLOB, flags, which, state.length), state]), which, state };
  }
  const code = codes[random() % codes.length];
  const body = randomBytes(random, random() % 24);
  if (kind === 3) return { bytes: randomBytes(random, random() % 64) };
  if (kind === 4) return { bytes: Buffer.concat([words(code), Buffer.alloc(random() % 20)]) };
  if (kind === 5) return { bytes: altered(random, Buffer.concat([words(code), Buffer.alloc(12)])) };
  return { bytes: Buffer.concat([words(code), body]) };
}

/** Sends bytes, perhaps in two pieces; gives what came back until it stops. */
function exchange(path, bytes, cut) {
  return new Promise((resolve) => {
    const received = [];
    const socket = connect({ path });
    let timer;
    const done = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(Buffer.concat(received));
    };
    const wait = () => {
      clearTimeout(timer);
      timer = setTimeout(done, PATIENCE);
    };
    socket.on("connect", () => {
      socket.write(bytes.subarray(0, cut));
      if (cut < bytes.length) setImmediate(() => socket.writable && socket.write(bytes.subarray(cut)));
      wait();
    });
    socket.on("data", (data) => {
      received.push(data);
      // An honest reply is one piece.
      done();
    });
    socket.on("error", done);
    socket.on("close", done);
  });
}

/** Asks as an honest client does; undefined when no answer of `length` bytes came in time. */
function ask(path, request, length) {
  return new Promise((resolve) => {
    const socket = connect({ path });
    let received = Buffer.alloc(0);
    const done = (answer) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => done(undefined), HANG);
    socket.on("connect", () => socket.write(request));
    socket.on("data", (data) => {
      received = Buffer.concat([received, data]);
      if (received.length >= length) done(received.toString("hex"));
    });
    socket.on("error", () => done(undefined));
    socket.on("close", () => done(undefined));
  });
}

function newStates() {
  const host = new TpmHost({ store: new MemoryStore() });
  host.start();
  host.startup(0);
  return { 1: Buffer.from(host.getState(1, true).bytes), 2: Buffer.from(host.getState(2, true).bytes) };
}

export async function* run({ seed, count, position }) {
  const folder = mkdtempSync(join(tmpdir(), "entresol-control-"));
  const [data, control] = [join(folder, "data"), join(folder, "control")];
  const store = new MemoryStore();
  const host = new TpmHost({ store });
  const states = newStates();
  const place = (path) => ({ kind: "unix", path, mode: 0o600 });
  const messages = [];
  const thrown = (error) => messages.push(`thrown: ${error instanceof Error ? error.stack : String(error)}`);
  process.on("uncaughtException", thrown);
  process.on("unhandledRejection", thrown);
  const service = await SocketService.open({ host, data: place(data), control: place(control) });
  try {
    for (let done = position; done < count; done += BATCH) {
      const random = generator(BigInt(seed) * 1_000_003n + BigInt(done));
      const cases = Array.from({ length: Math.min(BATCH, count - done) }, () => message(random, states));
      const cuts = cases.map(({ bytes }) => (random() & 1 ? bytes.length : random() % (bytes.length + 1)));
      // So that a state can be taken.
      if (random() & 1) await ask(control, words(0x0e), 4);
      let next = 0;
      const client = async () => {
        while (next < cases.length) {
          const index = next++;
          const { bytes, which, state } = cases[index];
          const reply = await exchange(control, bytes, cuts[index]);
          const result = reply.length >= 4 ? reply.readUInt32BE(0) : undefined;
          const name = `case ${done + index}: ${bytes.subarray(0, 24).toString("hex")}`;
          if (reply.length > 0 && !results.has(result)) messages.push(`${name}: result ${result}`);
          if (result === 0 && state !== undefined && !state.equals(states[which]) && reply.length === 4)
            messages.push(`${name}: an altered state of kind ${which} was taken`);
        }
      };
      await Promise.all(Array.from({ length: CLIENTS }, client));
      const after = `after case ${done + cases.length - 1}`;
      // A volatile state that was taken is good for one start.
      for (const start of [1, 0]) {
        await ask(control, words(0x0e), 4);
        const begun = await ask(control, words(0x02, start), 4);
        if (begun !== "00000000") messages.push(`${after}: INIT gave ${begun}`);
      }
      // A message may have chosen another locality, which stays chosen, and from which TPM2_Startup is TPM_RC_LOCALITY.
      const chosen = await ask(control, Buffer.from("0000000500", "hex"), 4);
      if (chosen !== "00000000") messages.push(`${after}: SET_LOCALITY gave ${chosen}`);
      const started = await ask(data, Buffer.from("80010000000c000001440000", "hex"), 10);
      if (started !== "80010000000a00000000") messages.push(`${after}: TPM2_Startup gave ${started}`);
      const random16 = await ask(data, Buffer.from("80010000000c0000017b0010", "hex"), 28);
      if (!random16?.startsWith("80010000001c00000000"))
        messages.push(`${after}: TPM2_GetRandom gave ${random16}`);
      yield { position: done + cases.length, mismatches: messages.length, messages: messages.splice(0) };
    }
  } finally {
    process.off("uncaughtException", thrown);
    process.off("unhandledRejection", thrown);
    await service.close();
    rmSync(folder, { recursive: true, force: true });
  }
}
