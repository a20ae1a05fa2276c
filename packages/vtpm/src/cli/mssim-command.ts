import { Command } from "commander";
import { searchOnThread } from "../key-search-thread.ts";
import { MssimService } from "../mssim-service.ts";
import { profiles } from "../profiles.ts";
import { MemoryStore } from "../state-store.ts";
import { TpmHost } from "../tpm-host.ts";
import { portNumber, tcpPlace } from "./channel-options.ts";
import { isDaemon, startDaemon } from "./daemon.ts";
import { CommandError, EXIT_OK, EXIT_USAGE } from "./exit-status.ts";
import type { Invocation } from "./invocation.ts";
import { readKey } from "./key-file.ts";
import { profileOption } from "./profile.ts";
import { serveUntilEnd } from "./service-life.ts";
import { openLog } from "./service-log.ts";
import { serviceState, stateFolder } from "./state-folder.ts";

interface MssimOptions {
  port: string;
  bindaddr: string;
  tpmstate?: string;
  key?: string;
  profile?: string;
  log?: string;
  pid?: string;
  metrics?: string;
  daemon?: boolean;
}

/** `entresol-vtpm mssim …`. `finish` gets the exit status. */
export function mssimCommand(invocation: Invocation, finish: (status: number) => void): Command {
  return new Command("mssim")
    .description(
      "Serves a TPM 2.0 as the TCG reference's simulator does: a command port and a platform port.",
    )
    .option("--port <port>", "command port; the platform port is the next", "2321")
    .option("--bindaddr <address>", "address to listen on", "127.0.0.1")
    .option("--tpmstate <place>", "where the state is: dir=FOLDER (default: $TPM_PATH, else in memory)")
    .option("--key <key>", "the state is encrypted: as for socket")
    .option(
      "--profile <profile>",
      "what the TPM offers: name=default-v1 (what libtpms does; default) | name=entresol (SHA-3, and no RSA-1024)",
    )
    .option("--log <place>", "file=F|fd=N[,prefix=P][,truncate]; file=- for none (default: stderr)")
    .option("--pid <place>", "write the process number: file=F|fd=N")
    .option("--metrics <port>", "serve Prometheus metrics at http://127.0.0.1:PORT/metrics")
    .option("-d, --daemon", "serve in the background; the command ends when clients may come")
    .addHelpText(
      "after",
      `
The TPM has no power until a client of the platform port gives it, as tpm2-tss and IBM's utilities do.

Examples:
  entresol-vtpm mssim --port 2321
  tpm2_getrandom --tcti mssim:host=127.0.0.1,port=2321 --hex 8
`,
    )
    .action(async (options: MssimOptions) => finish(await run(invocation, options)));
}

async function run(invocation: Invocation, options: MssimOptions): Promise<number> {
  const port = portNumber("--port", options.port);
  if (port === 0xffff) throw new CommandError(EXIT_USAGE, "--port 65535: the platform port is the next one");
  if (options.daemon === true && !isDaemon()) {
    await startDaemon(invocation.program, invocation.args);
    return EXIT_OK;
  }
  const log = openLog(options.log, invocation.name);
  const key = options.key === undefined ? undefined : readKey("--key", options.key);
  const tpm = profiles[profileOption(options.profile)];
  const folder = stateFolder(options.tpmstate);
  const state = folder === undefined ? undefined : await serviceState(folder, key, false, log);
  // Power that is taken from a simulator is gone, as tests of what happens then expect.
  const host = new TpmHost({
    tpm,
    store: state ?? new MemoryStore(),
    abrupt: true,
    searchKey: searchOnThread,
  });
  try {
    return await serveUntilEnd(
      () =>
        MssimService.open({
          host,
          command: tcpPlace(port, options.bindaddr),
          platform: tcpPlace(port === 0 ? 0 : port + 1, options.bindaddr),
          log,
        }),
      { host, pid: options.pid, metrics: options.metrics },
    );
  } finally {
    await state?.unlock();
  }
}
