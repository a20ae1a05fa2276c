// What swtpm_setup makes of our service, and what `entresol-vtpm setup` makes by itself, for the same options drawn at random: the same keys but for
// their numbers, the same NV indices but for their contents, the same PCR banks. One case is one set of options. Needs swtpm_setup and
// swtpm_localca in the PATH. Left out is the certificate chain, which swtpm_setup does not store.
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { decodePermanent, FileNvStore } from "@entresol/tpm";

export const description = "TPMs set up by swtpm_setup and by ours, from random options";
export const defaultCount = 50;

const program = new URL("../bin/entresol-vtpm.js", import.meta.url).pathname;
/** The indices of the certificate chain. */
const isChain = (handle) => handle >= 0x01c00100 && handle <= 0x01c001ff;
const banks = ["sha1", "sha256", "sha384", "sha512"];
const key = "000102030405060708090a0b0c0d0e0f";

/** 32 bits for each case of a seed. */
function drawn(seed, position) {
  let x = (seed * 0x9e3779b1 + position * 0x85ebca6b) >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return (x ^ (x >>> 15)) >>> 0;
}

/** Options that both commands have, by the bits of a number. */
function optionsOf(bits, keyFile) {
  // A platform certificate implies those of the keys by the manual, which swtpm_setup 0.7 does not keep to.
  const flags = [
    "--create-ek-cert",
    "--create-ek-cert --create-platform-cert",
    "--ecc",
    "--create-spk",
    "--lock-nvram",
  ];
  const chosen = flags.filter((_, i) => (bits & (1 << i)) !== 0).flatMap((words) => words.split(" "));
  const signing = ["", "--allow-signing", "--allow-signing --decryption", "--decryption"][(bits >>> 5) & 3];
  const active = banks.filter((_, i) => (bits & (1 << (8 + i))) !== 0);
  return [
    ...["--tpm2", "--createek", ...chosen, ...signing.split(" ").filter((word) => word !== "")],
    ...["--rsa-keysize", (bits & (1 << 12)) !== 0 ? "3072" : "2048"],
    ...["--pcr-banks", active.length === 0 ? "-" : active.join(",")],
    ...((bits & (1 << 13)) !== 0 ? ["--keyfile", keyFile] : []),
  ];
}

function finished(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (bytes) => (said += bytes));
    child.once("error", (error) => resolve({ status: -1, said: error.message }));
    child.once("close", (status) => resolve({ status, said }));
  });
}

/** All that two TPMs with the same options have in common. */
function look(folder, encrypted) {
  const store = FileNvStore.open(folder, encrypted ? { key: Buffer.from(key, "hex") } : {});
  try {
    const state = decodePermanent(store.load());
    return {
      persistent: state.persistent
        .map(({ handle, object }) => {
          const { unique: _, ...rest } = object.publicArea;
          return { handle, hierarchy: object.hierarchy, rest };
        })
        .sort((a, b) => a.handle - b.handle),
      nv: state.nvIndices
        .filter(({ handle }) => !isChain(handle))
        .map(({ handle, nameAlg, attributes, authPolicy }) => ({ handle, nameAlg, attributes, authPolicy }))
        .sort((a, b) => a.handle - b.handle),
      banks: (state.pcrAllocationPending ?? state.pcrAllocation)
        .filter(({ pcrSelect }) => pcrSelect.some((byte) => byte !== 0))
        .map(({ hash }) => hash),
    };
  } finally {
    store.close();
  }
}

/** In what the two differ, or what failed: one line, or none. */
async function differences(bits, root, swtpm) {
  const [theirs, ours] = [mkdtempSync(join(root, "theirs-")), mkdtempSync(join(root, "ours-"))];
  const options = optionsOf(bits, join(root, "key"));
  const config = ["--config", join(root, "setup.conf"), "--tpm", `${swtpm} socket`];
  const made = [
    await finished("swtpm_setup", [...options, ...config, "--tpm-state", theirs]),
    await finished(process.execPath, [
      program,
      "setup",
      ...options,
      "--tpm-state",
      ours,
      "--ca",
      join(root, "ca"),
    ]),
  ];
  const failed = made.filter(({ status }) => status !== 0).map(({ said }) => said.trim().split("\n").at(-1));
  if (failed.length > 0) return [`${options.join(" ")}: ${failed.join("; ")}`];
  const encrypted = options.includes("--keyfile");
  const [a, b] = [look(theirs, encrypted), look(ours, encrypted)];
  const parts = Object.keys(a).filter((part) => !isDeepStrictEqual(a[part], b[part]));
  const told = parts.map((part) => `${part}: ${JSON.stringify(a[part])} and ${JSON.stringify(b[part])}`);
  return told.length === 0 ? [] : [`${options.join(" ")}: ${told.join("; ")}`];
}

export async function* run({ seed, count, position }) {
  const root = mkdtempSync(join(tmpdir(), "entresol-setup-as-swtpm-"));
  try {
    const swtpm = join(root, "swtpm");
    symlinkSync(program, swtpm);
    mkdirSync(join(root, "ca"), { mode: 0o700 });
    writeFileSync(join(root, "key"), key);
    const files = {
      statedir: "ca",
      signingkey: "ca/signkey.pem",
      issuercert: "ca/issuercert.pem",
      certserial: "ca/certserial",
    };
    writeFileSync(
      join(root, "localca.conf"),
      Object.entries(files)
        .map(([name, file]) => `${name} = ${join(root, file)}\n`)
        .join(""),
    );
    writeFileSync(
      join(root, "localca.options"),
      "--platform-manufacturer M --platform-version 1 --platform-model N\n",
    );
    writeFileSync(
      join(root, "setup.conf"),
      `create_certs_tool = swtpm_localca\ncreate_certs_tool_config = ${root}/localca.conf\ncreate_certs_tool_options = ${root}/localca.options\n`,
    );
    for (let at = position; at < count; at++) {
      const found = await differences(drawn(seed, at), root, swtpm);
      yield {
        position: at + 1,
        mismatches: found.length,
        messages: found.map((each) => `case ${at}: ${each}`),
      };
    }
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}
