import { accessSync, constants, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { TpmStateError } from "@entresol/tpm";
import { algorithmName, pcrBankHashes } from "@entresol/tpm-types";
import { Command, Option } from "commander";
import type { LockedState } from "../locked-state.ts";
import { type AuthorityKeyKind, CertificateAuthority } from "../provisioning/certificate-authority.ts";
import {
  type EndorsementKeyName,
  endorsementKeys,
  STORAGE_ROOT_HANDLE,
} from "../provisioning/endorsement-keys.ts";
import { NvArea } from "../provisioning/nv-areas.ts";
import type { Provisioned, ProvisioningOptions } from "../provisioning/provision.ts";
import { reconfigure, setUp } from "../provisioning/setup.ts";
import { CommandError, EXIT_FAILURE, EXIT_OK, EXIT_USAGE } from "./exit-status.ts";
import type { Invocation } from "./invocation.ts";
import { readKey } from "./key-file.ts";
import { runAs } from "./run-as.ts";
import { type SetupProgress, setupProgress } from "./setup-progress.ts";
import { openStateFolder, type StateFolder, serviceState, stateFolder } from "./state-folder.ts";
import { VERSION } from "./version.ts";

interface SetupOptions {
  tpmstate?: string;
  tpmState?: string;
  ca?: string;
  caKey: string;
  ek?: string;
  rsaKeysize: "2048" | "3072";
  createEkCert?: boolean;
  createPlatformCert?: boolean;
  createSpk?: boolean;
  ecc?: boolean;
  allowSigning?: boolean;
  decryption?: boolean;
  lockNvram?: boolean;
  pcrBanks: string;
  vmid: string;
  platformManufacturer: string;
  platformModel: string;
  platformVersion: string;
  overwrite?: boolean;
  notOverwrite?: boolean;
  reconfigure?: boolean;
  writeEkCertFiles?: string;
  key?: string;
  keyfile?: string;
  keyfileFd?: string;
  pwdfile?: string;
  pwdfileFd?: string;
  logfile?: string;
  json?: boolean;
  quiet?: boolean;
  runas?: string;
  printCapabilities?: boolean;
}

/** What libvirt asks swtpm_setup for. */
const capabilities = {
  type: "swtpm_setup",
  features: [
    "tpm-2.0",
    "cmdarg-keyfile-fd",
    "cmdarg-pwdfile-fd",
    "cmdarg-write-ek-cert-files",
    "cmdarg-reconfigure-pcr-banks",
    "tpm2-rsa-keysize-2048",
    "tpm2-rsa-keysize-3072",
  ],
  version: VERSION,
} as const;

/** As the service has it for the files of a state. */
const STATE_MODE = 0o640;

const ignored = (flags: string): Option =>
  new Option(flags, "accepted as swtpm_setup has it; without effect").hideHelp();

/** `entresol-vtpm setup …`: swtpm_setup's options where it has them. `finish` gets the exit status. */
export function setupCommand(_invocation: Invocation, finish: (status: number) => void): Command {
  return new Command("setup")
    .description(
      "Makes a TPM as it leaves its maker: endorsement keys, certificates by a local authority, PCR banks.",
    )
    .option("--tpmstate <place>", "where the state goes: FOLDER, or as for socket (default: $TPM_PATH)")
    .option("--key <key>", "the state is encrypted: as for socket")
    .option("--keyfile <file>", "as --key file=FILE")
    .option("--keyfile-fd <fd>", "as --key fd=FD")
    .option("--pwdfile <file>", "as --key pwdfile=FILE")
    .option("--pwdfile-fd <fd>", "as --key pwdfd=FD")
    .option(
      "--ek <keys>",
      `endorsement keys, of ${Object.keys(endorsementKeys).join(", ")} (default: rsa2048,p384)`,
    )
    .addOption(
      new Option("--rsa-keysize <bits>", "size of the RSA endorsement key without --ek")
        .choices(["2048", "3072"])
        .default("2048"),
    )
    .option("--allow-signing", "endorsement keys that sign: no standard ones; with --decryption both")
    .option("--decryption", "endorsement keys that decrypt (without --allow-signing they do)")
    .option("--create-ek-cert", "make certificates of the endorsement keys")
    .option("--create-platform-cert", "make a platform certificate too")
    .option("--create-spk", "make the storage root key: RSA of --rsa-keysize, with --ecc on P-384")
    .option("--ecc", "as said for --create-spk")
    .option("--lock-nvram", "nobody can write to the certificates' NV indices any more")
    .option("--pcr-banks <hashes>", "PCR banks, such as sha256,sha384; - for all", "sha256")
    .option("--vmid <name>", "common name in the certificates", "unknown")
    .option("--platform-manufacturer <text>", "in the platform certificate", "Entresol")
    .option("--platform-model <text>", "in the platform certificate", "Entresol VM")
    .option("--platform-version <text>", "in the platform certificate", VERSION)
    .option("--ca <folder>", "the certificate authority; made on first use (see below for where)")
    .addOption(
      new Option("--ca-key <kind>", "keys of an authority that is made")
        .choices(["p384", "rsa3072"])
        .default("p384"),
    )
    .option("--write-ek-cert-files <folder>", "write the endorsement keys' certificates there too (DER)")
    .option("--overwrite", "make a new TPM in place of one that is there")
    .option("--not-overwrite", "leave a TPM that is there alone, and end well")
    .option("--reconfigure", "change the PCR banks of a TPM that is there, and nothing else")
    .option("--logfile <file>", "say what is done in this file, not on stderr")
    .option("--json", "print one JSON object")
    .option("--quiet", "print nothing but failures")
    .option("-r, --runas <user>", "become this user")
    .option("--print-capabilities", "print what this program can do, as JSON, and end")
    .addOption(new Option("--tpm-state <place>", "as --tpmstate").hideHelp())
    .addOption(ignored("--tpm2"))
    .addOption(ignored("--createek"))
    .addOption(ignored("--display"))
    .addOption(ignored("--config <file>"))
    .addOption(ignored("--tpm <program>"))
    .addOption(ignored("--swtpm_ioctl <program>"))
    .addOption(ignored("--cipher <cipher>"))
    .addHelpText(
      "after",
      `
The certificate authority is a root and an intermediate, in files with the names that swtpm_localca gives them: its folder can be used here
as it is. Without --ca it is in /var/lib/entresol-vtpm/ca for root, else in $XDG_STATE_HOME/entresol-vtpm/ca. Take the root's private key
away from there when it was made: nothing here needs it again.

Exit status: 0 when the TPM is there; 1 for a failure, and nothing was changed then; 2 for a wrong command line.

Examples:
  entresol-vtpm setup --tpmstate /var/lib/tpm --create-ek-cert --create-platform-cert --lock-nvram --vmid web1
  entresol-vtpm setup --tpmstate /var/lib/tpm --ek rsa2048,rsa3072,p256,p384 --create-ek-cert --ca ./ca --json
  entresol-vtpm setup --tpmstate /var/lib/tpm --reconfigure --pcr-banks sha256,sha384
`,
    )
    .action(async (options: SetupOptions) => finish(await run(options)));
}

async function run(options: SetupOptions): Promise<number> {
  if (options.printCapabilities === true) {
    process.stdout.write(`${JSON.stringify(capabilities)}\n`);
    return EXIT_OK;
  }
  if (options.runas !== undefined) runAs(options.runas);
  const folder = placeOf(options.tpmstate ?? options.tpmState);
  if (folder === undefined)
    throw new CommandError(EXIT_USAGE, "--tpmstate FOLDER, or $TPM_PATH, has to say where the state goes");
  const banks = pcrBanks(options.pcrBanks);
  const keys = endorsementKeyNames(options);
  const key = stateKey(options);
  // Found out now, and not when the TPM is there.
  if (options.writeEkCertFiles !== undefined) accessSync(options.writeEkCertFiles, constants.W_OK);
  const progress = setupProgress(options);
  makeFolder(folder);
  const store = await serviceState(folder, key);
  try {
    return await withState(options, folder, store, keys, banks, progress);
  } finally {
    progress.end();
    await store.unlock();
  }
}

async function withState(
  options: SetupOptions,
  folder: StateFolder,
  store: LockedState,
  keys: readonly EndorsementKeyName[],
  banks: readonly number[] | undefined,
  progress: SetupProgress,
): Promise<number> {
  const before = storedState(store, options);
  if (options.reconfigure === true) {
    if (before === undefined)
      throw new CommandError(EXIT_FAILURE, `${folder.path}: there is no TPM's state in this folder`);
    if (banks !== undefined && before !== "unreadable") await reconfigure(store, before, banks);
    tell(options, { state: folder.path, pcrBanks: banks?.map(bankName) ?? "unchanged" });
    return EXIT_OK;
  }
  if (before !== undefined && options.notOverwrite === true) {
    tell(options, { state: folder.path, kept: true });
    return EXIT_OK;
  }
  if (before !== undefined && options.overwrite !== true)
    throw new CommandError(
      EXIT_FAILURE,
      `${folder.path}: a TPM is there already; --overwrite makes a new one in its place, --not-overwrite leaves it alone`,
    );
  const certified = options.createEkCert === true || options.createPlatformCert === true;
  const authority = certified ? await authorityOf(options) : undefined;
  const wanted = provisioning(options, keys, banks, authority, progress);
  const made = await setUp(store, wanted, before === "unreadable" ? () => erase(folder) : undefined);
  if (options.writeEkCertFiles !== undefined) writeCertificates(options.writeEkCertFiles, made);
  progress.end();
  tell(options, { state: folder.path, ...view(made), pcrBanks: banks?.map(bankName) ?? "all" });
  return EXIT_OK;
}

/** A state under another key, or a damaged one, is in the way of a new TPM only where it is not to be replaced. Throws `TpmStateError`. */
function storedState(store: LockedState, { overwrite, reconfigure: keep }: SetupOptions) {
  try {
    return store.load();
  } catch (error) {
    if (error instanceof TpmStateError && overwrite === true && keep !== true) return "unreadable";
    throw error;
  }
}

/** Only with the folder's lock. */
function erase(folder: StateFolder): void {
  const files = openStateFolder(folder, undefined);
  try {
    files.erase();
  } finally {
    files.close();
  }
}

/** A bare path is a folder, whatever signs are in it. */
function placeOf(text: string | undefined): StateFolder | undefined {
  if (text === undefined || /^(dir|mode|backend-uri|lock)=/.test(text)) return stateFolder(text);
  if (/^(dir|file):\/\//.test(text)) return stateFolder(`backend-uri=${text}`);
  return { path: text, mode: STATE_MODE, kind: "folder" };
}

const bankName = (hash: number): string => algorithmName(hash).toLowerCase();

/** Undefined: all banks stay. */
function pcrBanks(text: string): readonly number[] | undefined {
  if (text === "-") return undefined;
  const known = new Map(pcrBankHashes.map((hash) => [bankName(hash), hash]));
  return text.split(",").map((name) => {
    const hash = known.get(name);
    if (hash === undefined)
      throw new CommandError(EXIT_USAGE, `--pcr-banks ${text}: banks are ${[...known.keys()].join(", ")}`);
    return hash;
  });
}

function endorsementKeyNames({ ek, rsaKeysize }: SetupOptions): readonly EndorsementKeyName[] {
  if (ek === undefined) return [rsaKeysize === "3072" ? "rsa3072" : "rsa2048", "p384"];
  const names = [...new Set(ek.split(","))];
  const known = Object.keys(endorsementKeys);
  for (const name of names)
    if (!known.includes(name)) throw new CommandError(EXIT_USAGE, `--ek ${ek}: keys are ${known.join(", ")}`);
  return names as EndorsementKeyName[];
}

function stateKey(options: SetupOptions): Uint8Array | undefined {
  const sources = [
    ["--key", options.key],
    ["--keyfile", options.keyfile && `file=${options.keyfile}`],
    ["--keyfile-fd", options.keyfileFd && `fd=${options.keyfileFd}`],
    ["--pwdfile", options.pwdfile && `pwdfile=${options.pwdfile}`],
    ["--pwdfile-fd", options.pwdfileFd && `pwdfd=${options.pwdfileFd}`],
  ] as const;
  const given = sources.filter(([, text]) => text !== undefined);
  if (given.length > 1)
    throw new CommandError(EXIT_USAGE, `${given.map(([name]) => name).join(" and ")}: the state has one key`);
  // Passphrases are stretched under the option's name, and the service will have --key.
  return given[0]?.[1] === undefined ? undefined : readKey("--key", given[0][1]);
}

function authorityOf({ ca, caKey }: SetupOptions): Promise<CertificateAuthority> {
  const own =
    process.getuid?.() === 0 ? "/var/lib" : process.env["XDG_STATE_HOME"] || join(homedir(), ".local/state");
  return CertificateAuthority.open(ca ?? join(own, "entresol-vtpm/ca"), caKey as AuthorityKeyKind);
}

function provisioning(
  options: SetupOptions,
  keys: readonly EndorsementKeyName[],
  banks: readonly number[] | undefined,
  authority: CertificateAuthority | undefined,
  progress: SetupProgress,
): ProvisioningOptions {
  const signing = options.allowSigning === true;
  const platform = {
    manufacturer: options.platformManufacturer,
    model: options.platformModel,
    version: options.platformVersion,
  };
  return {
    keys,
    use: { signing, decryption: !signing || options.decryption === true },
    ...(options.createSpk === true && {
      storageRoot: options.ecc === true ? "p384" : `rsa${options.rsaKeysize}`,
    }),
    ...(authority && {
      certification: {
        authority,
        commonName: options.vmid,
        ...(options.createPlatformCert === true && { platform }),
      },
    }),
    lockNv: options.lockNvram === true,
    ...(banks && { pcrBanks: banks }),
    progress: progress.step,
  };
}

function writeCertificates(folder: string, { endorsementKeys: made }: Provisioned): void {
  for (const { key, certificate } of made)
    if (certificate !== undefined)
      writeFileSync(join(folder, `ek-${endorsementKeys[key].name}.crt`), certificate);
}

const handleText = (handle: number): string => `0x${handle.toString(16).padStart(8, "0")}`;

function view({ endorsementKeys: made, platformCertificate, storageRoot }: Provisioned) {
  return {
    endorsementKeys: made.map(({ key, handle, name, certificate }) => ({
      key,
      template: endorsementKeys[key].template,
      handle: handleText(handle),
      name: Buffer.from(name).toString("hex"),
      ...(certificate && {
        certificate: { nvIndex: handleText(endorsementKeys[key].certificateIndex), size: certificate.length },
      }),
    })),
    ...(storageRoot && {
      storageRoot: {
        handle: handleText(STORAGE_ROOT_HANDLE),
        name: Buffer.from(storageRoot).toString("hex"),
      },
    }),
    ...(platformCertificate && {
      platformCertificate: {
        nvIndex: handleText(NvArea.platformCertificate),
        size: platformCertificate.length,
      },
    }),
  };
}

type Outcome = {
  readonly state: string;
  readonly kept?: true;
  readonly pcrBanks?: readonly string[] | "all" | "unchanged";
} & Partial<ReturnType<typeof view>>;

function tell({ json, quiet }: SetupOptions, outcome: Outcome): void {
  if (json === true) process.stdout.write(`${JSON.stringify(outcome)}\n`);
  else if (quiet !== true) process.stdout.write(`${describe(outcome).join("\n")}\n`);
}

/** For people. */
function describe(outcome: Outcome): string[] {
  if (outcome.kept === true) return [`${outcome.state}: a TPM is there already, and was left alone`];
  return [
    ...(outcome.endorsementKeys ?? []).flatMap(({ key, handle, certificate }) => [
      `endorsement key ${key} at ${handle}`,
      ...(certificate ? [`  certificate at ${certificate.nvIndex}, ${certificate.size} bytes`] : []),
    ]),
    ...(outcome.storageRoot ? [`storage root key at ${outcome.storageRoot.handle}`] : []),
    ...(outcome.platformCertificate
      ? [
          `platform certificate at ${outcome.platformCertificate.nvIndex}, ${outcome.platformCertificate.size} bytes`,
        ]
      : []),
    `PCR banks: ${typeof outcome.pcrBanks === "string" ? outcome.pcrBanks : outcome.pcrBanks?.join(", ")}`,
    `${outcome.state}: the TPM is ready`,
  ];
}

/** A folder for a state is made when what it is to be in is there, for nobody else to read. */
function makeFolder(folder: StateFolder | undefined): void {
  if (folder?.kind === "folder" && !existsSync(folder.path)) mkdirSync(folder.path, { mode: 0o700 });
}
