// A process whose TPM changes NV, killed (SIGKILL) at one of the operations of its store: before a file is made, in the middle of a write,
// before it is made durable, before or after it takes its name. The next process must find every command whose response was given, and at most
// the one that was on its way, whole. One case is one kill; the state goes from case to case: in a folder, every other time in a single file.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { FileNvStore, SingleFile, Tpm } from "../dist/index.js";
import { systemFiles } from "../dist/store-files.js";
import { TpmClient } from "../dist/testing/client.js";

export const description = "a process that changes NV is killed at an operation of its store, kills counted";
export const defaultCount = 1000;

const SHA256 = 0x000b;
const OWNER = 0x40000001;
const PLATFORM = 0x4000000c;
const LOCKOUT = 0x4000000a;
const ORDINARY = 0x01500000;
const COUNTER = 0x01500001;
const BITS = 0x01500002;
const EXTEND = 0x01500003;
const indices = [ORDINARY, COUNTER, BITS, EXTEND];
const types = [0, 1, 2, 4];
const key = new Uint8Array(32).fill(7);
/** Operations of the store that a process lives for, at most: about ten commands. */
const LIFE = 60;

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

/** Where the state is: a folder, or a file in one. */
const places = ["folder", "file"];
const filesOf = (kind) => (kind === "file" ? new SingleFile(0o600) : systemFiles);

function open(folder, files) {
  const store = FileNvStore.open(folder, { key, files });
  const permanent = store.load();
  const tpm = new Tpm(permanent === undefined ? { store } : { store, permanent });
  const client = new TpmClient(tpm);
  client.run("Startup", {}, { startupType: 0 });
  return { client, store };
}

function define(client) {
  for (const [i, nvIndex] of indices.entries()) {
    const dataSize = types[i] === 0 || types[i] === 4 ? 32 : 8;
    const attributes = 0x0006_0006 | (types[i] << 4);
    const publicInfo = { nvIndex, nameAlg: SHA256, attributes, authPolicy: new Uint8Array(0), dataSize };
    client.run("NV_DefineSpace", { authHandle: OWNER }, { auth: new Uint8Array(0), publicInfo });
  }
  client.run("NV_Write", { authHandle: OWNER, nvIndex: ORDINARY }, { data: number(0), offset: 0 });
  client.run("NV_Increment", { authHandle: OWNER, nvIndex: COUNTER }, {});
  client.run("NV_SetBits", { authHandle: OWNER, nvIndex: BITS }, { bits: 1n });
  client.run("NV_Extend", { authHandle: OWNER, nvIndex: EXTEND }, { data: number(0) });
}

function number(value) {
  const bytes = new Uint8Array(32);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

/** Command number `n`: which one it is follows from the number alone. */
function command(client, n) {
  switch (generator(n)() % 6) {
    case 0:
      client.run("NV_Write", { authHandle: OWNER, nvIndex: ORDINARY }, { data: number(n), offset: 0 });
      break;
    case 1:
      client.run("NV_Increment", { authHandle: OWNER, nvIndex: COUNTER }, {});
      break;
    case 2:
      client.run("NV_SetBits", { authHandle: OWNER, nvIndex: BITS }, { bits: 1n << BigInt(n % 64) });
      break;
    case 3:
      client.run("NV_Extend", { authHandle: OWNER, nvIndex: EXTEND }, { data: number(n) });
      break;
    case 4:
      client.run("SetPrimaryPolicy", { authHandle: LOCKOUT }, { authPolicy: number(n), hashAlg: SHA256 });
      break;
    default:
      client.run(
        "PCR_SetAuthPolicy",
        { authHandle: PLATFORM },
        { authPolicy: number(n), hashAlg: SHA256, pcrNum: 20 },
      );
  }
}

/** All that the commands change, as text. */
function picture(client) {
  const read = (nvIndex, size) =>
    Buffer.from(client.run("NV_Read", { authHandle: OWNER, nvIndex }, { size, offset: 0 }).data).toString(
      "hex",
    );
  const policies = client.run("GetCapability", {}, { capability: 9, property: OWNER, propertyCount: 8 });
  const lockout = policies.capabilityData.data.find(({ handle }) => handle === LOCKOUT);
  const nv = indices.map((nvIndex, i) => read(nvIndex, types[i] === 0 || types[i] === 4 ? 32 : 8));
  return [...nv, Buffer.from(lockout.policyHash.digest).toString("hex")].join(" ");
}

/** The process that is killed: says the number of each command whose response it has. */
function write(folder, first, life, kind) {
  let left = life;
  const kill = () => {
    if (left-- === 0) process.kill(process.pid, "SIGKILL");
  };
  const real = filesOf(kind);
  const files = { read: (path) => real.read(path), openFolder: (path) => real.openFolder(path) };
  for (const name of ["create", "reopen", "sync", "syncFolder", "rename", "remove", "close"]) {
    files[name] = (...values) => {
      kill();
      return real[name](...values);
    };
  }
  files.write = (file, bytes) => {
    kill();
    // Half of it: what is behind is that of the state before, and in a single file so is the length.
    if (kind === "folder") writeSync(file, bytes, 0, bytes.length >> 1, 0);
    else
      real.write(
        file,
        Buffer.concat([bytes.subarray(0, bytes.length >> 1), Buffer.alloc(bytes.length >> 1)]),
      );
    kill();
    return real.write(file, bytes);
  };
  const { client } = open(folder, files);
  for (let n = first; ; n++) {
    command(client, n);
    writeSync(1, `${n}\n`);
  }
}

const self = fileURLToPath(import.meta.url);
if (process.argv[1] === self) {
  const [folder, first, life, kind] = process.argv.slice(2);
  write(folder, Number(first), Number(life), kind);
}

export async function* run({ seed, count, position }) {
  const folder = mkdtempSync(join(tmpdir(), "entresol-killed-writes-"));
  const random = generator(seed + position);
  try {
    // A TPM without a store goes the same way: it says what must be found.
    const stories = places.map((kind) => {
      const place = kind === "file" ? join(folder, "state") : join(folder, "folder");
      if (kind === "folder") mkdirSync(place);
      const model = new TpmClient(new Tpm());
      model.run("Startup", {}, { startupType: 0 });
      define(model);
      const begun = open(place, filesOf(kind));
      define(begun.client);
      begun.store.close();
      return { kind, place, model, next: 1 };
    });
    for (let done = position; done < count; ) {
      const story = stories[done % stories.length];
      const { kind, place, model } = story;
      let { next } = story;
      const life = random() % LIFE;
      const child = spawnSync(process.execPath, [self, place, String(next), String(life), kind], {
        encoding: "utf8",
      });
      const messages = [];
      if (child.signal !== "SIGKILL") messages.push(`case ${done}: ended by itself: ${child.stderr}`);
      const answered = child.stdout.split("\n").filter((line) => line !== "");
      for (; next <= Number(answered.at(-1) ?? next - 1); next++) command(model, next);
      const { client, store } = open(place, filesOf(kind));
      const found = picture(client);
      if (found !== picture(model)) {
        // The command that was on its way may have been carried out.
        command(model, next++);
        if (found !== picture(model))
          messages.push(
            `case ${done} (${kind}), killed at operation ${life}: command ${next - 1} or one before it is lost`,
          );
      }
      store.close();
      story.next = next;
      done++;
      yield { position: done, mismatches: messages.length, messages };
      if (messages.length > 0) return;
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}
