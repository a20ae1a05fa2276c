// Our TPM beside swtpm (libtpms): random commands on NV indices, hierarchies and start-ups, whose responses must be the same byte for byte.
// Left out is what differs for a reason: libtpms has less room for orderly data, counts a failure for each disorderly shutdown that a
// protected authValue was tried before, takes no notice of most commands after a Shutdown, and forgets what counters had reached that Clear deletes.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  Alg,
  Cap,
  commandOf,
  commands,
  Nt,
  NvAttribute,
  Rh,
  responseCodeName,
  St,
  Su,
  TpmWriter,
} from "@entresol/tpm-types";
import { decodePermanent, Tpm } from "../dist/index.js";

export const description = "NV, hierarchies and start-ups beside swtpm, commands counted";
export const defaultCount = 100_000;

/** Commands that one pair of TPMs lives for. */
const LIFE = 2000;
/** Commands before a mismatch that are told with it. */
const TOLD = 12;
const none = new Uint8Array(0);
const password = Uint8Array.of(1, 2);
const indices = [0x0100_0001, 0x0100_0002, 0x0100_0003, 0x0180_0004];
const hierarchies = [Rh.OWNER, Rh.ENDORSEMENT, Rh.PLATFORM, Rh.LOCKOUT];
/** CMD_INIT of swtpm's control channel, and its flags. */
const CONTROL_INIT = Buffer.from([0, 0, 0, 2, 0, 0, 0, 0]);
/** TPM_RC_RETRY: libtpms wants the first protected authorization twice. */
const RETRY = 0x922;

/** SplitMix64, cut to 32 bits. The factor of the seed is not that of the steps: neighbours would give the same numbers, a little later. */
function generator(seed) {
  let state = BigInt.asUintN(64, BigInt(seed) * 0xd1342543de82ef95n);
  return () => {
    state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n);
    let z = state;
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return Number((z ^ (z >> 31n)) & 0xffffffffn);
  };
}

/** A socket that is asked one thing at a time. `lengthOf` gives the length of an answer once enough of it is there, else 0. */
async function channel(path, lengthOf) {
  const socket = connect(path);
  await once(socket, "connect");
  let received = Buffer.alloc(0);
  let waiting;
  const deliver = () => {
    const length = lengthOf(received);
    if (waiting === undefined || length === 0 || received.length < length) return;
    const answer = received.subarray(0, length);
    received = received.subarray(length);
    waiting(answer);
    waiting = undefined;
  };
  socket.on("data", (data) => {
    received = Buffer.concat([received, data]);
    deliver();
  });
  return {
    ask: (bytes) =>
      new Promise((resolve, reject) => {
        waiting = resolve;
        socket.once("error", reject);
        socket.write(bytes, () => socket.off("error", reject));
      }),
    end: () => socket.destroy(),
  };
}

async function swtpm() {
  const folder = mkdtempSync(join(tmpdir(), "entresol-swtpm-"));
  const paths = { data: join(folder, "data"), control: join(folder, "control") };
  const unix = (path) => `type=unixio,path=${path}`;
  const program = spawn(
    "swtpm",
    ["socket", "--tpm2", "--server", unix(paths.data), "--ctrl", unix(paths.control)].concat([
      "--tpmstate",
      `dir=${folder}`,
      "--flags",
      "not-need-init",
    ]),
    { stdio: "ignore" },
  );
  const ended = once(program, "exit");
  ended.catch(() => {});
  while (!existsSync(paths.data) || !existsSync(paths.control)) {
    if (program.exitCode !== null || program.pid === undefined) throw new Error("swtpm does not run here");
    await sleep(10);
  }
  const data = await channel(paths.data, (bytes) => (bytes.length < 6 ? 0 : bytes.readUInt32BE(2)));
  const control = await channel(paths.control, () => 4);
  return {
    async execute(command) {
      const answer = await data.ask(command);
      return answer.readUInt32BE(6) === RETRY ? data.ask(command) : answer;
    },
    powerCycle: () => control.ask(CONTROL_INIT),
    async end() {
      data.end();
      control.end();
      program.kill();
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A command's bytes, with a password for each handle that needs one. */
function marshal({ name, handles = [], parameters = {}, auth = none }) {
  const definition = commandOf(commands[name].code);
  const writer = new TpmWriter();
  const { roles } = definition;
  writer
    .u16(roles.length > 0 ? St.SESSIONS : St.NO_SESSIONS)
    .u32(0)
    .u32(definition.code);
  for (const handle of handles) writer.u32(handle);
  if (roles.length > 0) {
    const area = new TpmWriter();
    for (const _ of roles) area.u32(Rh.PW).sized(none).u8(1).sized(auth);
    writer.u32(area.length).bytes(area.finish());
  }
  for (const [field, type] of definition.parameterList) type.write(writer, parameters[field]);
  writer.setU32(2, writer.length);
  return writer.finish();
}

/** In percent, where it is not 30: that an index is made with an attribute. */
const likely = {
  WRITTEN: 2,
  WRITELOCKED: 2,
  READLOCKED: 2,
  POLICY_DELETE: 2,
  AUTHREAD: 70,
  AUTHWRITE: 60,
  OWNERREAD: 70,
  OWNERWRITE: 70,
  PPREAD: 60,
  PPWRITE: 60,
  NO_DA: 80,
  WRITEDEFINE: 20,
  CLEAR_STCLEAR: 20,
  GLOBALLOCK: 20,
};
const likelyOfPin = { AUTHWRITE: 10, NO_DA: 95, GLOBALLOCK: 5, WRITEDEFINE: 5 };

/** What random commands are drawn from. */
function draws(random) {
  const below = (limit) => random() % limit;
  const pick = (...values) => values[below(values.length)];
  /** A count and a limit that are soon reached. */
  const pin = () => Uint8Array.of(0, 0, 0, below(3), 0, 0, 0, below(5));
  const bytes = (length) => Uint8Array.from({ length }, () => below(256));

  function definition() {
    const type = pick(
      Nt.ORDINARY,
      Nt.ORDINARY,
      Nt.COUNTER,
      Nt.COUNTER,
      Nt.BITS,
      Nt.EXTEND,
      Nt.PIN_FAIL,
      Nt.PIN_PASS,
      below(16),
    );
    let attributes = type << 4;
    for (const [name, bit] of Object.entries(NvAttribute)) {
      const percent = (type >= Nt.PIN_FAIL ? likelyOfPin[name] : undefined) ?? likely[name] ?? 30;
      if (below(100) < percent) attributes |= bit;
    }
    const orderly = (attributes & NvAttribute.ORDERLY) !== 0;
    // The lock of an orderly counter is lost there with power.
    if (orderly && type === Nt.COUNTER) attributes &= ~NvAttribute.WRITEDEFINE;
    // Of a PIN that is written in part the rest is there what happened to be in NV.
    if (type === Nt.PIN_FAIL || type === Nt.PIN_PASS) attributes |= NvAttribute.WRITEALL;
    const sizes = {
      [Nt.ORDINARY]: orderly ? [0, 1, 8, 40] : [0, 1, 8, 32, 1025, 2048],
      [Nt.EXTEND]: [32, 32, 20, 48],
    };
    const platform = (attributes & NvAttribute.PLATFORMCREATE) !== 0;
    const authHandle = below(10) > 0 && platform ? Rh.PLATFORM : below(10) > 0 ? Rh.OWNER : Rh.PLATFORM;
    const publicInfo = {
      nvIndex: pick(...indices),
      nameAlg: pick(Alg.SHA256, Alg.SHA256, Alg.SHA1, Alg.SHA384),
      attributes: attributes >>> 0,
      authPolicy: pick(none, none, none, bytes(32), bytes(20)),
      dataSize: pick(...(sizes[type] ?? [8, 8, 8, 8, 7])),
    };
    const auth = pick(none, password, Uint8Array.of(1, 2, 0, 0), bytes(30));
    return { name: "NV_DefineSpace", handles: [authHandle], parameters: { auth, publicInfo } };
  }

  /** A command on an index, authorized by somebody who may be the right one. */
  function access(name, parameters = {}) {
    const nvIndex = pick(...indices);
    const authHandle = pick(Rh.OWNER, Rh.OWNER, Rh.PLATFORM, nvIndex, nvIndex, pick(...indices));
    const auth = authHandle === nvIndex ? pick(none, password, password, Uint8Array.of(1, 2, 0)) : none;
    return { name, handles: [authHandle, nvIndex], parameters, auth };
  }
  const capability = (kind, property, propertyCount) => ({
    name: "GetCapability",
    parameters: { capability: kind, property, propertyCount },
  });
  const list = () => pick([], [commands.GetRandom.code, commands.Shutdown.code, 0x999, commands.Clear.code]);
  const platform = (name, parameters) => ({ name, handles: [Rh.PLATFORM], parameters });

  const kinds = [
    [4, definition],
    [1, () => ({ name: "NV_UndefineSpace", handles: [pick(Rh.OWNER, Rh.PLATFORM), pick(...indices)] })],
    [
      3,
      () =>
        access("NV_Write", {
          data: pick(pin(), pin(), bytes(pick(0, 1, 8, 8, 16, 32, 1024))),
          offset: pick(0, 0, 0, 1, 8, 9, 3000),
        }),
    ],
    [4, () => access("NV_Read", { size: pick(0, 1, 8, 8, 16, 32, 1025, 2048), offset: pick(0, 0, 0, 1, 9) })],
    [4, () => access("NV_Increment")],
    [1, () => access("NV_SetBits", { bits: BigInt(random()) << BigInt(below(33)) })],
    [1, () => access("NV_Extend", { data: bytes(below(40)) })],
    [1, () => access("NV_WriteLock")],
    [1, () => access("NV_ReadLock")],
    [3, () => ({ name: "NV_ReadPublic", handles: [pick(...indices)] })],
    [
      1,
      () =>
        below(5) > 0
          ? access("NV_Increment")
          : { name: "NV_GlobalWriteLock", handles: [pick(Rh.OWNER, Rh.PLATFORM)] },
    ],
    [
      1,
      () => ({
        name: "HierarchyControl",
        handles: [pick(Rh.OWNER, Rh.ENDORSEMENT, Rh.PLATFORM, Rh.PLATFORM)],
        parameters: {
          enable: pick(
            Rh.OWNER,
            Rh.ENDORSEMENT,
            Rh.PLATFORM_NV,
            below(6) > 0 ? Rh.OWNER : pick(Rh.PLATFORM, Rh.NULL),
          ),
          state: below(3) > 0,
        },
      }),
    ],
    [
      1,
      () =>
        pick(
          () => ({
            name: "SetPrimaryPolicy",
            handles: [pick(...hierarchies)],
            parameters: {
              authPolicy: bytes(pick(0, 20, 32, 48)),
              hashAlg: pick(Alg.NULL, Alg.SHA1, Alg.SHA256),
            },
          }),
          () => platform("PP_Commands", { setList: list(), clearList: list() }),
          () => ({
            name: "SetCommandCodeAuditStatus",
            handles: [pick(Rh.OWNER, Rh.PLATFORM)],
            parameters: {
              auditAlg: pick(Alg.NULL, Alg.SHA256, Alg.SHA512),
              setList: list(),
              clearList: list(),
            },
          }),
          () => ({
            name: "ClearControl",
            handles: [pick(Rh.LOCKOUT, Rh.PLATFORM)],
            parameters: { disable: below(4) === 0 },
          }),
          () => platform("SetAlgorithmSet", { algorithmSet: 0 }),
          () => ({ name: "ClockSet", handles: [Rh.OWNER], parameters: { newTime: 0xffff_0000_0000_0001n } }),
          () => ({ name: "ClockRateAdjust", handles: [Rh.OWNER], parameters: { rateAdjust: below(10) - 5 } }),
          () => ({ name: "DictionaryAttackLockReset", handles: [Rh.LOCKOUT] }),
          () => capability(Cap.HANDLES, indices[0], 100),
          () => capability(Cap.AUDIT_COMMANDS, 0, 100),
          () => capability(Cap.TPM_PROPERTIES, 0x200, 2),
          () => platform("ChangePPS"),
          () => platform("ChangeEPS"),
          () => ({ name: "Clear", handles: [pick(Rh.LOCKOUT, Rh.PLATFORM)] }),
        )(),
    ],
  ];
  const weighted = kinds.flatMap(([weight, make]) => Array.from({ length: weight }, () => make));
  return { below, pick, command: () => pick(...weighted)() };
}

const protectionOff = {
  name: "DictionaryAttackParameters",
  handles: [Rh.LOCKOUT],
  parameters: { newMaxTries: 1000, newRecoveryTime: 0, lockoutRecovery: 0 },
};
const startup = (startupType) => ({ name: "Startup", parameters: { startupType } });

function ownerHasCounter(tpm) {
  return decodePermanent(tpm.savePermanent()).nvIndices.some(
    ({ attributes }) =>
      ((attributes >>> 4) & 0xf) === Nt.COUNTER && (attributes & NvAttribute.PLATFORMCREATE) === 0,
  );
}

function describeCommand({ name, handles = [], parameters = {}, auth = none }, rc) {
  const plain = (_, value) =>
    value instanceof Uint8Array
      ? Buffer.from(value).toString("hex")
      : typeof value === "bigint"
        ? `0x${value.toString(16)}`
        : value;
  const of = handles.map((handle) => handle.toString(16)).join(" ");
  return `${name} ${of} ${JSON.stringify(parameters, plain)} [${Buffer.from(auth).toString("hex")}] -> ${responseCodeName(rc)}`;
}

/** One pair of TPMs, for up to `count` commands. Ends with the first mismatch. */
async function life(random, count) {
  const draw = draws(random);
  const peer = await swtpm();
  const tpm = new Tpm({ now: () => 0 });
  const told = [];
  const both = async (command) => {
    const bytes = marshal(command);
    const theirs = await peer.execute(bytes);
    const ours = Buffer.from(tpm.execute(bytes));
    told.push(describeCommand(command, theirs.readUInt32BE(6)));
    if (!theirs.equals(ours))
      throw new Error(
        `${told.slice(-TOLD).join("\n    ")}\n    swtpm ${theirs.toString("hex")}\n    ours  ${ours.toString("hex")}`,
      );
    return theirs.readUInt32BE(6);
  };
  const powerCycle = async () => {
    const end = draw.pick(Su.CLEAR, Su.STATE, undefined);
    if (end !== undefined) await both({ name: "Shutdown", parameters: { shutdownType: end } });
    await peer.powerCycle();
    tpm.powerOff();
    tpm.powerOn();
    told.push("power goes and comes");
    if (draw.below(2) === 0 && (await both(startup(Su.STATE))) === 0) return;
    await both(startup(Su.CLEAR));
  };
  try {
    await peer.powerCycle();
    await both(startup(Su.CLEAR));
    await both(protectionOff);
    for (let done = 0; done < count; done++) {
      if (draw.below(40) === 0) {
        await powerCycle();
        continue;
      }
      const command = draw.command();
      if (command.name === "Clear" && ownerHasCounter(tpm)) continue;
      const rc = await both(command);
      if (command.name === "Clear" && rc === 0) await both(protectionOff);
      // Far enough for an orderly counter to be written down.
      if (command.name === "NV_Increment" && rc === 0 && draw.below(4) === 0)
        for (let times = draw.below(300); times > 0; times--) await both(command);
    }
    return [];
  } catch (error) {
    return [error.message];
  } finally {
    await peer.end();
  }
}

export async function* run({ seed, count, position }) {
  for (let done = position; done < count; done += LIFE) {
    const messages = await life(
      generator(BigInt(seed) * 1_000_003n + BigInt(done)),
      Math.min(LIFE, count - done),
    );
    yield {
      position: Math.min(done + LIFE, count),
      mismatches: messages.length,
      messages: messages.map((message) => `life that begins at ${done}:\n    ${message}`),
    };
  }
}
