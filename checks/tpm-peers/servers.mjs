// The TPMs that the checks speak to: ours by both protocols, and swtpm as the control. Everything on loopback, ended by process number.
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export const ourCommand = resolve(import.meta.dirname, "../../packages/vtpm/bin/entresol-vtpm.js");
const ours = [process.execPath, ourCommand];
const places = ({ port, folder }) => [
  ...["--tpm2", "--server", `type=tcp,port=${port}`, "--ctrl", `type=tcp,port=${port + 1}`],
  ...["--flags", "not-need-init", "--tpmstate", `dir=${folder}`],
];

/** `kind` is the name of the TCTI; `program` is looked for in PATH. The second port is the next. */
export const servers = [
  { name: "entresol-vtpm socket", kind: "swtpm", command: (at) => [...ours, "socket", ...places(at)] },
  {
    name: "entresol-vtpm mssim",
    kind: "mssim",
    command: ({ port, folder }) => [...ours, "mssim", "--port", `${port}`, "--tpmstate", `dir=${folder}`],
  },
  {
    name: "swtpm",
    kind: "swtpm",
    program: "swtpm",
    command: (at) => ["swtpm", "socket", ...places(at), "--seccomp", "action=none"],
  },
];

export const installed = (program) => spawnSync("which", [program]).status === 0;

/** A folder that is gone after `end`. */
export function temporaryFolder() {
  const path = mkdtempSync(join(tmpdir(), "entresol-peers-"));
  return { path, end: () => rmSync(path, { recursive: true, force: true }) };
}

const listens = (port) =>
  new Promise((done) => {
    const server = createServer();
    server.once("error", () => done(false));
    server.listen(port, "127.0.0.1", () => server.close(() => done(true)));
  });

const taken = new Set();
/** A port that is free, and the next one. */
export async function portPair() {
  for (let tries = 0; tries < 200; tries++) {
    const port = 20000 + 2 * Math.floor(Math.random() * 6000);
    if (taken.has(port)) continue;
    taken.add(port);
    if ((await listens(port)) && (await listens(port + 1))) return port;
  }
  throw new Error("no two ports in a row are free");
}

const answers = (port) =>
  new Promise((done) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("error", () => done(false));
    socket.once("connect", () => {
      socket.end();
      done(true);
    });
  });

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/**
 * A program with its output. `ended` resolves with its exit status. `end` kills it, and the processes that it started when it has a group of
 * its own (`group`).
 */
export function start([program, ...args], { group = false, ...options } = {}) {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], ...options, detached: group });
  const running = { child, output: "", status: undefined };
  for (const stream of [child.stdout, child.stderr])
    stream?.on("data", (chunk) => {
      running.output += chunk;
    });
  running.ended = new Promise((done) => {
    child.once("error", (error) => {
      running.output += String(error);
      running.status = -1;
      done(-1);
    });
    child.once("close", (status) => {
      running.status = status ?? -1;
      done(running.status);
    });
  });
  running.end = async () => {
    try {
      if (child.pid !== undefined) process.kill(group ? -child.pid : child.pid, "SIGKILL");
    } catch {
      // It has ended.
    }
    await running.ended;
  };
  return running;
}

/** Runs a program to its end, within `seconds`. Throws when it fails. */
export async function run(command, { seconds = 60, ...options } = {}) {
  const running = start(command, { group: true, ...options });
  let timer;
  const late = new Promise((done) => {
    timer = setTimeout(() => done(`not within ${seconds} s`), seconds * 1000);
  });
  const status = await Promise.race([running.ended, late]);
  clearTimeout(timer);
  await running.end();
  if (status !== 0) throw new Error(`${command.join(" ")}: ${status}\n${running.output.slice(-3000)}`);
  return running.output;
}

/** Starts one of `servers` with a state folder below `folder` and waits until both ports are served. */
export async function startServer(server, folder, name = "state") {
  const state = join(folder, name);
  mkdirSync(state);
  const port = await portPair();
  // swtpm serves one client at a time: a trial of its command port would be the one.
  const running = start(server.command({ port, folder: state }), { cwd: state });
  for (let tries = 0; tries < 400; tries++) {
    if (await answers(port + 1)) {
      if (server.kind === "swtpm") await pause(20);
      running.port = port;
      running.tcti = `${server.kind}:host=127.0.0.1,port=${port}`;
      return running;
    }
    if (running.status !== undefined) break;
    await pause(20);
  }
  await running.end();
  throw new Error(`${server.name} does not serve port ${port}: ${running.output}`);
}
