// QEMU on our service: measured boots of its two firmwares, then snapshots and a live migration of a machine whose TPM holds something.
import { createHash, createPublicKey, verify } from "node:crypto";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseEventLog, replay } from "@entresol/evidence";
import { Alg, Curve, commands, noScheme, noSymmetric, ObjectAttribute, Rh, St } from "@entresol/tpm-types";
import { ensureGuest } from "@entresol/vmm";
import { ovmf, QemuMachine } from "./qemu-machine.mjs";
import { installed, run, temporaryFolder } from "./servers.mjs";

const none = new Uint8Array(0);
const banks = new Map([
  [Alg.SHA1, "sha1"],
  [Alg.SHA256, "sha256"],
  [Alg.SHA384, "sha384"],
  [Alg.SHA512, "sha512"],
]);
/** Platform, its configuration, boot loader: what firmware measures. */
const firmwares = 8;
const hash = (name, ...parts) => {
  const state = createHash(name);
  for (const part of parts) state.update(part);
  return state.digest();
};
const hex = (bytes) => Buffer.from(bytes).toString("hex");

/** The guest has a TPM that answers, and its PCRs are what firmware's log makes of them. */
async function measuredBoot(machine, device, expect) {
  await machine.ready();
  const driver = await machine.says(
    "cat /sys/class/tpm/tpm0/tpm_version_major; readlink /sys/class/tpm/tpm0/device/driver",
  );
  expect("the driver", driver.startsWith("2\n") && driver.includes(device.slice(4)), driver);
  const bytes = await machine.file("/sys/kernel/security/tpm0/binary_bios_measurements");
  const log = parseEventLog(bytes);
  expect("events", log.events.length > firmwares, `${log.events.length}`);
  for (const { id } of log.algorithms) {
    const bank = banks.get(id);
    const values = replay(log, id, (value, digest) => hash(bank, value, digest));
    const pcrs = await machine.pcrs(bank);
    for (let n = 0; n < firmwares; n++) {
      const expected = values.has(n) ? hex(values.get(n)) : undefined;
      expect(`${bank}, PCR ${n}`, pcrs.get(n) === expected, `${pcrs.get(n)}, by the log ${expected}`);
    }
  }
  await asToolsRead(bytes, machine, expect);
  const [first, second] = [await random(machine), await random(machine)];
  expect("TPM2_GetRandom", first.length === 64 && first !== second, `${first} ${second}`);
  const digest = hash("sha256", "measured");
  await extend(machine, digest);
  const value = (await machine.pcrs("sha256")).get(debugPcr);
  expect("PCR 16", value === hex(hash("sha256", new Uint8Array(32), digest)), value);
  const complaint = machine.log.split("\n").find((line) => /tpm.*(error|fail|time(d )?out|bug)/i.test(line));
  expect("the kernel's log", complaint === undefined, complaint);
}

/** tpm2_eventlog reads the same out of the log. */
async function asToolsRead(bytes, machine, expect) {
  if (!installed("tpm2_eventlog")) return;
  const folder = temporaryFolder();
  try {
    const path = join(folder.path, "log");
    writeFileSync(path, bytes);
    const said = await run(["tpm2_eventlog", path]);
    const values = said.slice(said.lastIndexOf("  sha256:")).matchAll(/^ {4}(\d+) +: 0x([0-9a-f]{64})$/gm);
    const pcrs = await machine.pcrs("sha256");
    let count = 0;
    for (const [, number, value] of values) {
      if (Number(number) >= firmwares) continue;
      count++;
      expect(`tpm2_eventlog, PCR ${number}`, pcrs.get(Number(number)) === value, value);
    }
    expect("tpm2_eventlog", count === firmwares, said.slice(-2000));
  } finally {
    folder.end();
  }
}

const debugPcr = 16;
/** Extended by the guest's own integrity measurement. */
const integrity = 10;
const random = async ({ client }) =>
  hex((await client.run("GetRandom", {}, { bytesRequested: 32 })).randomBytes);
const extend = ({ client }, digest) =>
  client.run("PCR_Extend", { pcrHandle: debugPcr }, { digests: [{ hashAlg: Alg.SHA256, digest }] });

const { fixedTPM, fixedParent, sensitiveDataOrigin, sign } = ObjectAttribute;
/** Usable by its policy only. */
const signingKey = {
  type: Alg.ECC,
  nameAlg: Alg.SHA256,
  objectAttributes: fixedTPM | fixedParent | sensitiveDataOrigin | sign,
  parameters: {
    symmetric: noSymmetric,
    scheme: { scheme: Alg.ECDSA, hash: Alg.SHA256, count: 0 },
    curveID: Curve.NIST_P256,
    kdf: { scheme: Alg.NULL, hash: Alg.NULL },
  },
  unique: { x: none, y: none },
};
const selection = [{ hash: Alg.SHA256, pcrSelect: Uint8Array.of(0, 0, 1) }]; // bit 16
const counter = 0x0150_0040;
const persistent = 0x8101_0040;
/** TPM_NT_COUNTER, AUTHWRITE, AUTHREAD, OWNERWRITE, OWNERREAD. */
const counterAttributes = 0x0006_0016;

/** One of each kind of thing that a TPM holds for a client. */
class Holdings {
  static async fill(machine) {
    const held = new Holdings();
    const { client } = machine;
    held.session = await client.startSession({ kind: "policy" });
    const policySession = held.session.handle;
    await client.run("PolicyPCR", { policySession }, { pcrDigest: none, pcrs: selection });
    await client.run("PolicyCommandCode", { policySession }, { code: commands.Sign.code });
    const { policyDigest: authPolicy } = await client.run("PolicyGetDigest", { policySession }, {});
    const primary = async (text) => {
      const inSensitive = { userAuth: none, data: none };
      const unique = { x: Buffer.from(text), y: none };
      const inPublic = { ...signingKey, authPolicy, unique };
      return client.run(
        "CreatePrimary",
        { primaryHandle: Rh.OWNER },
        { inSensitive, inPublic, outsideInfo: none, creationPCR: [] },
      );
    };
    held.transient = await primary("stays loaded");
    const saved = await primary("is saved");
    held.savedName = hex(saved.name);
    held.context = (await client.run("ContextSave", { saveHandle: saved.handle }, {})).context;
    await client.run("FlushContext", {}, { flushHandle: saved.handle });
    const kept = await primary("is persistent");
    held.persistentName = hex(kept.name);
    const { handle: objectHandle } = kept;
    await client.run("EvictControl", { auth: Rh.OWNER, objectHandle }, { persistentHandle: persistent });
    await client.run("FlushContext", {}, { flushHandle: objectHandle });
    const publicInfo = {
      nvIndex: counter,
      nameAlg: Alg.SHA256,
      attributes: counterAttributes,
      authPolicy: none,
      dataSize: 8,
    };
    await client.run("NV_DefineSpace", { authHandle: Rh.OWNER }, { auth: none, publicInfo });
    for (let n = 0; n < 3; n++) await increment(client);
    held.before = await held.look(machine);
    return held;
  }

  /** Everything that can be read about it. */
  async look(machine) {
    const { client } = machine;
    const name = async (objectHandle) => hex((await client.run("ReadPublic", { objectHandle }, {})).name);
    const { data } = await client.run(
      "NV_Read",
      { authHandle: Rh.OWNER, nvIndex: counter },
      { size: 8, offset: 0 },
    );
    const { policyDigest } = await client.run("PolicyGetDigest", { policySession: this.session.handle }, {});
    const registers = {};
    for (const bank of banks.values()) registers[bank] = [...(await machine.pcrs(bank))].join(" ");
    return {
      transient: await name(this.transient.handle),
      persistent: await name(persistent),
      counter: hex(data),
      policy: hex(policyDigest),
      ...registers,
    };
  }

  /** It is all there as it was, and can be used. */
  async expectKept(machine, expect) {
    const { client } = machine;
    const now = await this.look(machine);
    for (const [key, value] of Object.entries(this.before))
      expect(key, now[key] === value, `${now[key]}, before ${value}`);
    expect("the transient object", now.transient === hex(this.transient.name), now.transient);
    expect("the persistent object", now.persistent === this.persistentName, now.persistent);
    await this.#signs(client, expect);
    const loaded = (await client.run("ContextLoad", {}, { context: this.context })).handle;
    const { name } = await client.run("ReadPublic", { objectHandle: loaded }, {});
    expect("the saved object", hex(name) === this.savedName, hex(name));
    await client.run("FlushContext", {}, { flushHandle: loaded });
    await increment(client);
    const after = (await this.look(machine)).counter;
    const next = (BigInt(`0x${this.before.counter}`) + 1n).toString(16).padStart(16, "0");
    expect("the counter's next value", after === next, `${after}, expected ${next}`);
  }

  async #signs(client, expect) {
    const data = Buffer.from("signed after the move");
    const { signature } = await client.run(
      "Sign",
      { keyHandle: this.transient.handle },
      {
        digest: hash("sha256", data),
        inScheme: noScheme,
        validation: { tag: St.HASHCHECK, hierarchy: Rh.NULL, digest: none },
      },
      { auth: [this.session] },
    );
    const text = (bytes) => Buffer.concat([Buffer.alloc(32 - bytes.length), bytes]);
    const { x, y } = this.transient.outPublic.unique;
    const coordinate = (bytes) => text(bytes).toString("base64url");
    const jwk = { kty: "EC", crv: "P-256", x: coordinate(x), y: coordinate(y) };
    const key = { key: createPublicKey({ key: jwk, format: "jwk" }), dsaEncoding: "ieee-p1363" };
    const good = verify("sha256", data, key, Buffer.concat([text(signature.r), text(signature.s)]));
    expect("a signature by the transient object and the policy session", good, JSON.stringify(signature));
  }

  /** After a TPM Reset: what firmware measures is the same, the rest of PCRs is zero, only NV and persistent objects are left. */
  async expectReset(machine, expect) {
    const { client } = machine;
    const now = await machine.pcrs("sha256");
    for (const pair of this.before.sha256.split(" ")) {
      const [number, value] = pair.split(",");
      const expected = Number(number) === debugPcr ? "0".repeat(64) : value;
      if (Number(number) !== integrity)
        expect(
          `PCR ${number}`,
          now.get(Number(number)) === expected,
          `${now.get(Number(number))}, expected ${expected}`,
        );
    }
    const { name } = await client.run("ReadPublic", { objectHandle: persistent }, {});
    expect("the persistent object", hex(name) === this.persistentName, hex(name));
    const gone = async (what, objectHandle) => {
      const outcome = await client.run("ReadPublic", { objectHandle }, {}).then(
        () => "there",
        (error) => error.message,
      );
      expect(what, /TPM_RC_(REFERENCE_H0|HANDLE)/.test(outcome), outcome);
    };
    await gone("the transient object", this.transient.handle);
    const context = await client.run("ContextLoad", {}, { context: this.context }).then(
      () => "loaded",
      (error) => error.message,
    );
    expect("the saved context", /TPM_RC_INTEGRITY/.test(context), context);
    await increment(client);
    const { data } = await client.run(
      "NV_Read",
      { authHandle: Rh.OWNER, nvIndex: counter },
      { size: 8, offset: 0 },
    );
    const next = BigInt(`0x${this.before.counter}`) + 2n;
    expect("the counter", BigInt(`0x${hex(data)}`) === next, `${hex(data)}, expected ${next}`);
  }

  /** Everything is changed or gone. */
  async spoil(machine) {
    const { client } = machine;
    await extend(machine, hash("sha256", "spoiled"));
    await increment(client);
    await client.run("FlushContext", {}, { flushHandle: this.session.handle });
    await client.run("FlushContext", {}, { flushHandle: this.transient.handle });
    await client.run(
      "EvictControl",
      { auth: Rh.OWNER, objectHandle: persistent },
      { persistentHandle: persistent },
    );
    await client.run("Clear", { authHandle: Rh.LOCKOUT }, {});
  }
}

const increment = (client) => client.run("NV_Increment", { authHandle: Rh.OWNER, nvIndex: counter }, {});

/** Cases of one machine follow each other: a list of them is run in its order. `shared` ends with the last. */
export function qemuCases() {
  const missing = ["qemu-system-x86_64", "qemu-img"].filter((name) => !installed(name));
  const devices = ["tpm-tis", "tpm-crb"];
  const ovmfBoots = devices.map((device) => ({
    title: `QEMU, ${device}, OVMF: measured boot of Debian, PCRs equal the log`,
    without: [...missing, ...[ovmf.code].filter((path) => !existsSync(path))],
    async run(expect, keep) {
      const { path: folder } = keep(temporaryFolder());
      const image = await ensureGuest("debian12");
      const machine = keep(await QemuMachine.start({ folder, image, device, firmware: "ovmf" }));
      await measuredBoot(machine, device, expect);
    },
  }));
  return [...devices.map((device) => machineLife(device, missing)), ...ovmfBoots];
}

function machineLife(device, missing) {
  let folder;
  let image;
  let machine;
  let held;
  let later;
  const others = [];
  const sub = (name) => {
    const path = join(folder.path, name);
    mkdirSync(path);
    return path;
  };
  const started = async (options) => {
    const other = await QemuMachine.start({ image, device, ...options });
    others.unshift(other);
    return other;
  };
  const list = [
    {
      title: `QEMU, ${device}, SeaBIOS: measured boot of Debian, PCRs equal the log`,
      async run(expect) {
        folder = temporaryFolder();
        image = await ensureGuest("debian12");
        machine = await started({ folder: sub("first"), disk: join(folder.path, "disk") });
        await measuredBoot(machine, device, expect);
      },
    },
    {
      title: `QEMU, ${device}: loadvm brings back what savevm saved`,
      async run(expect) {
        held = await Holdings.fill(machine);
        await machine.monitor.human("savevm full");
        await held.spoil(machine);
        await machine.monitor.human("loadvm full");
        await held.expectKept(machine, expect);
        await machine.monitor.human("loadvm full");
      },
    },
    {
      title: `QEMU, ${device}: live migration to another service`,
      async run(expect) {
        const incoming = join(folder.path, "migration");
        const target = await started({ folder: sub("second"), disk: join(folder.path, "other"), incoming });
        await machine.migrate(incoming);
        await held.expectKept(target, expect);
        await target.end();
        await machine.end();
      },
    },
    {
      title: `QEMU, ${device}: a new machine with a new service begins with the snapshot`,
      async run(expect) {
        later = await started({
          folder: sub("third"),
          disk: join(folder.path, "disk"),
          loadvm: "full",
        });
        await held.expectKept(later, expect);
      },
    },
    {
      title: `QEMU, ${device}: a reboot of the guest begins with new PCRs and keeps NV`,
      async run(expect) {
        await later.reboot();
        await held.expectReset(later, expect);
      },
    },
  ];
  const end = async () => {
    for (const other of others) await other.end();
    folder?.end();
  };
  return { list: list.map((each) => ({ ...each, without: missing })), end };
}
