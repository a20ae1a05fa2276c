// tpm2-tools through tpm2-abrmd, against every server: the scripts beside this file use each tool that is installed at least once with success.

import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EventLogBuilder, EventType, parseEventLog, replay } from "@entresol/evidence";
import { installed, run, servers, startServer, temporaryFolder } from "./servers.mjs";

const here = import.meta.dirname;
const notScripts = new Set(["expect.sh", "session.sh"]);
const scripts = readdirSync(here).filter((name) => name.endsWith(".sh") && !notScripts.has(name));
const programs = ["tpm2_getrandom", "tpm2-abrmd", "dbus-run-session", "dbus-send", "openssl", "xxd"];

/** Every tool of the package, by its folder. */
function installedTools() {
  for (const folder of (process.env.PATH ?? "").split(":")) {
    const names = readNames(folder).filter((name) => name === "tpm2" || name.startsWith("tpm2_"));
    if (names.includes("tpm2_getrandom")) return { folder, names };
  }
  return { folder: "", names: [] };
}

function readNames(folder) {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** A folder of programs under the tools' names, which note each success in the file TOOLS_USED. */
function notingTools(folder, tools) {
  const noting = join(folder, "noting");
  mkdirSync(noting);
  const program = join(noting, "note");
  const text = `#!/bin/sh
name=\${0##*/}
${tools.folder}/$name "$@"
status=$?
if [ $status = 0 ]; then echo "$name" >>"$TOOLS_USED"; fi
exit $status
`;
  writeFileSync(program, text);
  chmodSync(program, 0o755);
  for (const name of tools.names) symlinkSync("note", join(noting, name));
  return noting;
}

const sha256 = (...parts) => {
  const state = createHash("sha256");
  for (const part of parts) state.update(part);
  return state.digest();
};

/** A log of our own making for tpm2_eventlog, and what it says by itself. */
function eventLog(folder) {
  const path = join(folder, "event-log");
  const builder = new EventLogBuilder([{ id: 0x000b, digestSize: 32 }]);
  const add = (index, type, text) => {
    const data = Buffer.from(text, "latin1");
    builder.add({ index, type, digests: [{ algorithm: 0x000b, digest: sha256(data) }], data });
  };
  add(4, EventType.EV_IPL, "kernel\0");
  add(4, EventType.EV_IPL, "initramfs\0");
  for (let index = 0; index < 8; index++) add(index, EventType.EV_SEPARATOR, "\0\0\0\0");
  const bytes = builder.finish();
  writeFileSync(path, bytes);
  const log = parseEventLog(bytes);
  const values = replay(log, 0x000b, sha256);
  const hex = (index) => Buffer.from(values.get(index)).toString("hex");
  return {
    EVENT_LOG: path,
    EVENT_LOG_EVENTS: `${log.events.length + 1}`,
    EVENT_LOG_PCR4: hex(4),
    EVENT_LOG_PCR7: hex(7),
  };
}

/** The cases: every script against every server, and after them whether each tool was used. */
export function toolCases() {
  const tools = installedTools();
  const missing = programs.filter((name) => !installed(name));
  const used = new Map(servers.map((server) => [server, new Map()]));
  const cases = servers.flatMap((server) =>
    scripts.map((script) => ({
      title: `tpm2-tools, ${script.slice(0, -3)}: ${server.name}`,
      // tpm2-tss sends a command to a simulator in two writes: each waits for a delayed acknowledgement, about 40 ms without work.
      waits: server.kind === "mssim",
      without: [...missing, ...[server.program ?? "node"].filter((name) => !installed(name))],
      async run(_expect, keep) {
        const folder = keep(temporaryFolder());
        const work = join(folder.path, "work");
        mkdirSync(work);
        const list = join(folder.path, "used");
        writeFileSync(list, "");
        const tpm = keep(await startServer(server, folder.path));
        const path = `${notingTools(folder.path, tools)}:${process.env.PATH}`;
        await run(["dbus-run-session", "--", "bash", join(here, "session.sh"), join(here, script)], {
          cwd: work,
          seconds: 200,
          env: {
            ...process.env,
            ...{ PATH: path, TOOLS_USED: list, TPM_KIND: server.kind, TPM_TCTI: tpm.tcti },
            ...{ TPM_CONTROL: `${tpm.port + 1}` },
            ...eventLog(folder.path),
          },
        });
        for (const name of new Set(readFileSync(list, "utf8").trim().split("\n"))) {
          const by = used.get(server);
          by.set(name, [...(by.get(name) ?? []), script]);
        }
      },
    })),
  );
  const coverage = servers.map((server) => ({
    title: `tpm2-tools, all ${tools.names.length} tools were used: ${server.name}`,
    without: [...missing, ...[server.program ?? "node"].filter((name) => !installed(name))],
    async run(expect) {
      const by = used.get(server);
      for (const name of tools.names) expect(name, by.has(name), "no script uses it with success");
    },
  }));
  /** Which scripts use a tool, for `--table`. */
  const table = () =>
    tools.names.map((name) => `${name.padEnd(30)} ${(used.get(servers[0]).get(name) ?? ["-"]).join(" ")}`);
  return { cases, coverage, table };
}
