import { Su } from "@entresol/tpm-types";
import { Command, Option } from "commander";
import { information } from "../information.ts";
import { searchOnThread } from "../key-search-thread.ts";
import { profiles } from "../profiles.ts";
import { type ChannelPlace, SocketService } from "../socket-service.ts";
import { TpmHost } from "../tpm-host.ts";
import { capabilities } from "./capabilities.ts";
import {
  type ControlChannel,
  connectedData,
  controlOption,
  type DataChannel,
  portNumber,
  serverOption,
  tcpPlace,
} from "./channel-options.ts";
import { isDaemon, startDaemon } from "./daemon.ts";
import { CommandError, EXIT_FAILURE, EXIT_OK, EXIT_USAGE } from "./exit-status.ts";
import type { Invocation } from "./invocation.ts";
import { readKey } from "./key-file.ts";
import { KeyValues } from "./key-values.ts";
import { profileOption } from "./profile.ts";
import { runAs } from "./run-as.ts";
import { serveUntilEnd } from "./service-life.ts";
import { openLog } from "./service-log.ts";
import { openStateFolder, serviceState, stateFolder } from "./state-folder.ts";

interface SocketOptions {
  tpm2?: boolean;
  port?: string;
  fd?: string;
  server?: string;
  ctrl?: string;
  tpmstate?: string;
  key?: string;
  migrationKey?: string;
  migration?: string;
  profile?: string;
  flags?: string;
  locality?: string;
  log?: string;
  pid?: string;
  metrics?: string;
  daemon?: boolean;
  terminate?: boolean;
  runas?: string;
  printCapabilities?: boolean;
  printStates?: boolean;
  printInfo?: string;
}

/** `entresol-vtpm socket …`: swtpm's options. `finish` gets the exit status. */
export function socketCommand(invocation: Invocation, finish: (status: number) => void): Command {
  return new Command("socket")
    .description("Serves a TPM 2.0 over sockets as swtpm does: for QEMU, libvirt, tpm2-tss and swtpm_setup.")
    .option("--tpm2", "TPM 2.0 (there is no other; under the name swtpm it has to be said)")
    .option(
      "--server <place>",
      "commands: type=tcp,port=P[,bindaddr=A] | type=unixio,path=P[,mode=0…][,uid=][,gid=] | fd=N; disconnect: one command a connection",
    )
    .option(
      "--ctrl <place>",
      "control channel: as --server, and clientfd=N for a connection; terminate: end with it",
    )
    .option("-p, --port <port>", "commands on this port, one a connection (default: $TPM_PORT)")
    .option("-f, --fd <fd>", "commands over this connected descriptor; the service ends with it")
    .option(
      "--tpmstate <place>",
      "where the state is: dir=FOLDER[,mode=0…] | backend-uri=dir://FOLDER | backend-uri=file://FILE (default: $TPM_PATH)",
    )
    .option(
      "--key <key>",
      "the state is encrypted: file=F|fd=N[,format=hex|binary] | pwdfile=F|pwdfd=N[,kdf=pbkdf2|sha512]; remove",
    )
    .option("--migration-key <key>", "states that leave by the control channel are encrypted; as --key")
    .option(
      "--migration <rules>",
      "incoming: the state's lock is taken when it is needed; release-lock-outgoing: it is given back when the state leaves",
    )
    .option(
      "--flags <flags>",
      "not-need-init, startup-clear, startup-state, startup-none, disable-auto-shutdown",
    )
    .option("--locality <rules>", "reject-locality-4, allow-set-locality")
    .option("--log <place>", "file=F|fd=N[,prefix=P][,truncate]; file=- for none (default: stderr)")
    .option("--pid <place>", "write the process number: file=F|fd=N")
    .option("--metrics <port>", "serve Prometheus metrics at http://127.0.0.1:PORT/metrics")
    .option("-d, --daemon", "serve in the background; the command ends when clients may come")
    .option("-t, --terminate", "end when a data connection is lost")
    .option("-r, --runas <user>", "become this user")
    .addOption(new Option("--seccomp <rules>", "accepted; without effect").hideHelp())
    .option(
      "--profile <profile>",
      "what the TPM offers: name=default-v1 (what libtpms does; default) | name=entresol (SHA-3, and no RSA-1024)",
    )
    .option("--print-capabilities", "print what this program can do, as JSON, and end")
    .option("--print-states", "print which states are in the folder, as JSON, and end")
    .option("--print-info <flags>", "print what GET_INFO tells, as JSON, and end")
    .addHelpText(
      "after",
      `
Exit status: 0 after SHUTDOWN, SIGTERM or the end of the connection that it serves; 1 for a failure; 2 for a wrong command line.

Examples:
  entresol-vtpm socket --tpm2 --server type=tcp,port=2321 --ctrl type=tcp,port=2322 --tpmstate dir=/var/lib/tpm --flags not-need-init
  entresol-vtpm socket --tpm2 --ctrl type=unixio,path=/run/tpm.sock --tpmstate dir=/var/lib/tpm
    (with: qemu-system-x86_64 -chardev socket,id=c,path=/run/tpm.sock -tpmdev emulator,id=t,chardev=c -device tpm-crb,tpmdev=t)
`,
    )
    .action(async (options: SocketOptions) => finish(await run(invocation, options)));
}

async function run(invocation: Invocation, options: SocketOptions): Promise<number> {
  if (options.printCapabilities === true) return print(capabilities);
  if (invocation.name === "swtpm" && options.tpm2 !== true)
    throw new CommandError(EXIT_USAGE, "there is no TPM 1.2 here: --tpm2 has to be given");
  if (options.printStates === true) return printStates(options);
  if (options.printInfo !== undefined)
    return print(JSON.parse(information(infoFlags(options.printInfo), profileOption(options.profile))));
  if (options.daemon === true && !isDaemon()) {
    await startDaemon(invocation.program, invocation.args);
    return EXIT_OK;
  }
  return serve(invocation, options);
}

function print(value: unknown): number {
  process.stdout.write(`${JSON.stringify(value)}\n`);
  return EXIT_OK;
}

function infoFlags(text: string): bigint {
  if (!/^(0x[0-9a-f]{1,16}|\d{1,19})$/i.test(text))
    throw new CommandError(EXIT_USAGE, `--print-info ${text}: it is a number`);
  return BigInt(text);
}

function printStates(options: SocketOptions): number {
  const store = openStateFolder(stateFolder(options.tpmstate), keyOf("--key", options.key));
  try {
    // By the names of swtpm.
    const found = { permall: store.load(), volatilestate: store.loadVolatile() };
    const states = Object.entries(found).flatMap(([name, state]) =>
      state === undefined ? [] : [{ name, size: state.length }],
    );
    return print({ type: "swtpm", states });
  } finally {
    store.close();
  }
}

function keyOf(option: string, text: string | undefined): Uint8Array | undefined {
  return text === undefined ? undefined : readKey(option, text);
}

function dataChannel(options: SocketOptions): DataChannel | undefined {
  if (options.server !== undefined) return serverOption(options.server);
  if (options.fd !== undefined) return connectedData(portNumber("--fd", options.fd));
  const port = options.port ?? (options.ctrl === undefined ? process.env["TPM_PORT"] : undefined);
  if (port === undefined) return undefined;
  return { place: tcpPlace(portNumber("--port", port)), oneCommand: true, terminate: false };
}

const startups = { "startup-clear": Su.CLEAR, "startup-state": Su.STATE } as const;

/** Gives power and starts the TPM as `--flags` says; without a control channel nobody else could give it power. */
function start(host: TpmHost, flags: KeyValues | undefined, controlled: boolean): void {
  const wanted = Object.entries(startups).find(([name]) => flags?.has(name));
  if (wanted === undefined && flags?.has("not-need-init") !== true && controlled) return;
  host.start();
  if (wanted === undefined) return;
  const rc = host.startup(wanted[1]);
  if (rc !== 0)
    throw new CommandError(EXIT_FAILURE, `TPM2_Startup (${wanted[0]}) was answered 0x${rc.toString(16)}`);
}

async function serve(invocation: Invocation, options: SocketOptions): Promise<number> {
  const log = openLog(options.log, invocation.name);
  const flags =
    options.flags === undefined
      ? undefined
      : new KeyValues("--flags", options.flags, [
          "not-need-init",
          "startup-none",
          "disable-auto-shutdown",
          ...Object.keys(startups),
        ]);
  const locality =
    options.locality === undefined
      ? undefined
      : new KeyValues("--locality", options.locality, ["reject-locality-4", "allow-set-locality"]);
  const data = dataChannel(options);
  const control = options.ctrl === undefined ? undefined : controlOption(options.ctrl);
  checkChannels(data, control);
  const profile = profileOption(options.profile);
  const stateKey = keyOf("--key", options.key);
  const migrationKey = keyOf("--migration-key", options.migrationKey);
  const migration =
    options.migration === undefined
      ? undefined
      : new KeyValues("--migration", options.migration, ["incoming", "release-lock-outgoing"]);
  const incoming = migration?.has("incoming") === true;
  const state = await serviceState(stateFolder(options.tpmstate), stateKey, incoming, log);
  const host = new TpmHost({
    store: state,
    tpm: profiles[profile],
    ...(stateKey && { stateKey }),
    ...(migrationKey && { migrationKey }),
    rejectLocality4: locality?.has("reject-locality-4") === true,
    allowSetLocality: locality?.has("allow-set-locality") === true,
    abrupt: flags?.has("disable-auto-shutdown") === true,
    searchKey: searchOnThread,
  });
  try {
    if (!incoming) start(host, flags, control !== undefined);
    return await serveUntilEnd(
      async () => {
        const service = await SocketService.open({
          host,
          ...(data && { data: data.place }),
          ...(control && { control: control.place }),
          oneCommand: data?.oneCommand === true,
          terminate: options.terminate === true || data?.terminate === true,
          terminateWithControl: control?.terminate === true,
          profile,
          storage: state,
          ...(migration?.has("release-lock-outgoing") && { handedOver: () => void state.unlock() }),
          log,
        });
        if (options.runas !== undefined) runAs(options.runas);
        return service;
      },
      { host, pid: options.pid, metrics: options.metrics },
    );
  } finally {
    await state.unlock();
  }
}

function checkChannels(data: DataChannel | undefined, control: ControlChannel | undefined): void {
  if (data === undefined && control === undefined)
    throw new CommandError(EXIT_USAGE, "--server, --fd, --port or --ctrl has to say where clients come from");
  const descriptors = [data?.place, control?.place].map((place: ChannelPlace | undefined) =>
    place !== undefined && "descriptor" in place ? place.descriptor : undefined,
  );
  if (descriptors[0] !== undefined && descriptors[0] === descriptors[1])
    throw new CommandError(EXIT_USAGE, `descriptor ${descriptors[0]} cannot be both channels`);
}
