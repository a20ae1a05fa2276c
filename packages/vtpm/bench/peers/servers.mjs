/* The services that the rows are measured on, each a process of its own with a state folder of its own. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Line } from "./line.mjs";

const command = resolve(import.meta.dirname, "../../bin/entresol-vtpm.js");
const bareServer = resolve(import.meta.dirname, "bare-server.mjs");

/** Files in memory: neither service waits for a disk. Else the system's folder for temporary files. */
export const memoryFolder = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

/** Is Debian's swtpm there? Without it the rows have no peer. */
export const hasSwtpm = spawnSync("swtpm", ["--version"]).status === 0;

function freePort() {
  return new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

const programs = {
  ours: [process.execPath, command, "socket"],
  swtpm: ["swtpm", "socket"],
  bare: [process.execPath, bareServer],
};

/** A service that runs: `line` is a connection to it, `startMs` the time from its start to the answer to its first command. */
export class Service {
  /** `kind`: ours, swtpm or bare (a Node server that answers every command with TPM_RC_SUCCESS and nothing). `over`: tcp or unix. `on`: where the state is. */
  static async start(kind, { over = "tcp", on = memoryFolder } = {}) {
    const folder = mkdtempSync(join(on, "entresol-bench-"));
    const place =
      over === "tcp" ? { port: await freePort(), host: "127.0.0.1" } : { path: join(folder, "commands") };
    const server = over === "tcp" ? `type=tcp,port=${place.port}` : `type=unixio,path=${place.path}`;
    const [program, ...words] = programs[kind];
    const args = kind === "bare" ? [place.port ?? place.path] : ["--tpm2", "--server", server];
    if (kind !== "bare") args.push("--tpmstate", `dir=${folder}`, "--flags", "not-need-init");
    const began = performance.now();
    // swtpm says there that a client has gone.
    const child = spawn(program, [...words, ...args], {
      stdio: ["ignore", "ignore", kind === "swtpm" ? "ignore" : "inherit"],
    });
    const line = await Line.open(place, () => child.exitCode ?? undefined);
    // TPM2_Startup(CLEAR).
    await line.send(Buffer.from("80010000000c000001440000", "hex"));
    return new Service(child, folder, line, performance.now() - began);
  }

  constructor(child, folder, line, startMs) {
    this.child = child;
    this.folder = folder;
    this.line = line;
    this.startMs = startMs;
  }

  /** Memory that is resident, in MB; undefined where the system does not tell. */
  get residentMb() {
    const path = `/proc/${this.child.pid}/status`;
    if (!existsSync(path)) return undefined;
    const [, kilobytes] = /VmRSS:\s+(\d+)/.exec(readFileSync(path, "utf8")) ?? [];
    return kilobytes === undefined ? undefined : kilobytes / 1024;
  }

  async stop() {
    this.line.close();
    if (this.child.exitCode === null) {
      const ended = new Promise((done) => this.child.once("exit", done));
      this.child.kill("SIGTERM");
      await ended;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
