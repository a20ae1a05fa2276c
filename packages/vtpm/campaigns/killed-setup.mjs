// `entresol-vtpm setup`, killed at some moment: the folder then has no TPM, the TPM of before or a whole new one, the certificate authority is
// whole or not there, and the next setup ends well. One case is one kill; in every second one there is a TPM and an authority already.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodePermanent, FileNvStore } from "@entresol/tpm";
import { inspect, loadProvisioning } from "../dist/index.js";

export const description = "setups killed at any moment: whole or not at all";
export const defaultCount = 100;

const program = new URL("../bin/entresol-vtpm.js", import.meta.url).pathname;
const certificates = ["0x01c0000a", "0x01c00100", "0x01c08000"];
/** Longer than a setup takes, in ms. */
const LONGEST = 600;

/** A number from 0 to n - 1 for each case of a seed. */
function drawn(seed, position, n) {
  let x = (seed * 0x9e3779b1 + position * 0x85ebca6b) >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return ((x ^ (x >>> 15)) >>> 0) % n;
}

/** Runs setup; with `after` it is killed then. Gives its exit status, null when it was killed. */
function setup(folder, ca, options, after) {
  return new Promise((resolve) => {
    const args = [
      "setup",
      "--tpmstate",
      folder,
      "--ca",
      ca,
      "--ek",
      "p256",
      "--create-platform-cert",
      "--quiet",
    ];
    const child = spawn(process.execPath, [program, ...args, ...options], { stdio: "ignore" });
    const timer = after === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), after);
    child.once("exit", (status) => {
      clearTimeout(timer);
      resolve(status);
    });
  });
}

/** What is in the folder: undefined for no TPM; what is wrong with one that is not whole. */
function look(folder) {
  const store = FileNvStore.open(folder);
  try {
    const state = store.load();
    if (state === undefined) return { name: undefined, faults: [] };
    const { persistent, nvIndices } = inspect(decodePermanent(state), undefined);
    const found = nvIndices.map(({ handle }) => handle).sort();
    const whole = persistent.length === 1 && found.join() === certificates.join();
    return {
      name: persistent[0]?.name,
      faults: whole ? [] : [`half a TPM: ${persistent.length} keys, ${found}`],
    };
  } finally {
    store.close();
  }
}

/** What is wrong after a kill at `after` ms. */
async function faultsOf(position, after, CertificateAuthority) {
  const root = mkdtempSync(join(tmpdir(), "entresol-killed-setup-"));
  const [folder, ca] = [join(root, "state"), join(root, "ca")];
  mkdirSync(folder);
  try {
    const faults = [];
    const second = position % 2 === 1;
    if (second && (await setup(folder, ca, [])) !== 0) faults.push("the first setup failed");
    await setup(folder, ca, ["--overwrite"], after);
    const found = look(folder);
    faults.push(...found.faults);
    if (second && found.name === undefined) faults.push("the TPM of before is gone, and no new one is there");
    if (existsSync(ca)) await CertificateAuthority.open(ca);
    if ((await setup(folder, ca, ["--not-overwrite"])) !== 0) faults.push("the next setup failed");
    const last = look(folder);
    faults.push(...last.faults);
    if (last.name === undefined) faults.push("the next setup made no TPM");
    if (found.name !== undefined && last.name !== found.name) faults.push("the next setup made another TPM");
    return faults;
  } catch (error) {
    return [`${error}`];
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

export async function* run({ seed, count, position }) {
  const { CertificateAuthority } = await loadProvisioning();
  for (let at = position; at < count; at++) {
    const after = drawn(seed, at, LONGEST);
    const faults = await faultsOf(at, after, CertificateAuthority);
    const messages = faults.map((fault) => `case ${at}, killed after ${after} ms: ${fault}`);
    yield { position: at + 1, mismatches: faults.length, messages };
  }
}
