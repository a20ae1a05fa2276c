import { spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { LoopbackClient, listening, raw, success } from "../testing/loopback-client.ts";

/* The built command as its users run it. */

const program = new URL("../../bin/entresol-vtpm.js", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "entresol-vtpm-cli-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function run(args: readonly string[], as = program) {
  const { TPM_PATH: _path, TPM_PORT: _port, ...env } = process.env;
  const { status, stdout, stderr } = spawnSync(process.execPath, [as, ...args], {
    encoding: "utf8",
    env: { ...env, NO_COLOR: "1" },
  });
  return { status, out: stdout, err: stderr };
}

let folders = 0;
function newFolder(): string {
  const path = join(folder, `state${folders++}`);
  mkdirSync(path);
  return path;
}

/** Serves over unix sockets in `state` until `use` is over, which the service must survive and end well after. */
async function served(
  args: readonly string[],
  use: (data: LoopbackClient, control: LoopbackClient) => Promise<void>,
) {
  const sockets = newFolder();
  const [data, control] = [join(sockets, "data"), join(sockets, "control")];
  const child = spawn(
    process.execPath,
    [
      program,
      "socket",
      "--tpm2",
      "--server",
      `type=unixio,path=${data}`,
      "--ctrl",
      `type=unixio,path=${control}`,
      ...args,
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  const ended = new Promise((resolve) => child.once("exit", resolve));
  await listening(control);
  const clients = [
    await LoopbackClient.connect({ path: data }),
    await LoopbackClient.connect({ path: control }),
  ];
  try {
    await use(clients[0]!, clients[1]!);
  } finally {
    for (const client of clients) client.close();
    child.kill("SIGTERM");
  }
  expect(await ended).toBe(0);
  expect(existsSync(control)).toBe(false);
}

describe("entresol-vtpm", () => {
  it("tells what it can do as swtpm does", () => {
    const { status, out } = run(["socket", "--print-capabilities"]);
    expect(status).toBe(0);
    expect(JSON.parse(out)).toMatchObject({
      type: "swtpm",
      features: expect.arrayContaining(["tpm-2.0", "cmdarg-pwd-fd", "nvram-backend-dir"]),
    });
  });

  it("stands in for swtpm under its name, and is no TPM 1.2 then", () => {
    const swtpm = join(newFolder(), "swtpm");
    symlinkSync(program, swtpm);
    expect(run(["--version"], swtpm).out).toMatch(/^TPM emulator version /);
    expect(run(["socket", "--server", "port=1"], swtpm)).toEqual({
      status: 2,
      out: "",
      err: "swtpm: there is no TPM 1.2 here: --tpm2 has to be given\n",
    });
  });

  it.each([
    [
      ["socket", "--tpmstate", "dir=/tmp"],
      2,
      "--server, --fd, --port or --ctrl has to say where clients come from",
    ],
    [
      ["socket", "--server", "port=1"],
      2,
      "--tpmstate dir=FOLDER, or $TPM_PATH, has to say where the state is",
    ],
    [
      ["socket", "--server", "port=1", "--tpmstate", "dir=/nonexistent"],
      1,
      "/nonexistent: no such file or folder",
    ],
    [
      ["socket", "--server", "port=1", "--tpmstate", "backend-uri=iscsi://x"],
      2,
      "it can be dir://FOLDER or file://FILE",
    ],
    [
      ["socket", "--server", "port=1", "--tpmstate", "dir=/tmp", "--flags", "fast"],
      2,
      '--flags does not know "fast"',
    ],
    [["inspect", "--tpmstate", "dir=/nonexistent"], 1, "/nonexistent: no such file or folder"],
    [["mssim", "--port", "65535"], 2, "the platform port is the next one"],
    [["chardev"], 2, "unknown command 'chardev'"],
  ])("refuses %j in one line", (args, status, message) => {
    const outcome = run(args as string[]);
    expect(outcome.status).toBe(status);
    expect(outcome.err).toContain(message);
    expect(outcome.err).not.toMatch(/\n\s+at /);
  });

  it("starts the TPM as --flags says, keeps its state encrypted and shows it without a secret", async () => {
    const state = newFolder();
    const key = join(folder, "key");
    writeFileSync(key, "5a".repeat(32));
    const options = ["--tpmstate", `dir=${state}`, "--key", `file=${key}`];
    await served([...options, "--flags", "startup-clear", "--log", "file=-"], async (data, control) => {
      expect(await data.send(raw.getRandom).response()).toMatch(/^80010000001c00000000/);
      expect(await data.send(raw.extendPcr16).response()).toMatch(/^800200000013000000/);
      expect(await control.send("0000000f").read(8)).toBe("0000000000000001");
      expect(await control.send("0000000a").read(4)).toBe("00000000");
    });
    for (const name of readdirSync(state))
      expect(readFileSync(join(state, name)).includes("ENTP")).toBe(false);
    const { status, out } = run(["inspect", ...options, "--json"]);
    expect(status).toBe(0);
    const { running, ...permanent } = JSON.parse(out);
    expect(permanent).toMatchObject({ orderly: false, nvIndices: [], persistent: [] });
    expect(running).toMatchObject({ started: true, sessions: [], objects: [] });
    expect(running.pcr.SHA256[16]).not.toBe("00".repeat(32));
    expect(out).not.toMatch(/seed|proof/i);
    expect(run(["inspect", "--tpmstate", `dir=${state}`]).err).toBe(
      "entresol-vtpm: the state is encrypted and there is no key\n",
    );
    expect(JSON.parse(run(["socket", "--print-states", ...options]).out).states).toMatchObject([
      { name: "permall" },
      { name: "volatilestate" },
    ]);
  });

  it("keeps its state in one file when that is asked for, which is one service's at a time", async () => {
    const options = ["--tpmstate", `backend-uri=file://${join(newFolder(), "tpm.state")}`];
    await served([...options, "--flags", "startup-clear"], async (data) => {
      expect(await data.send(raw.getRandom).response()).toMatch(/^80010000001c00000000/);
      const second = run(["socket", "--server", "port=1", ...options]);
      expect([second.status, second.err]).toEqual([
        1,
        expect.stringContaining("another service uses this state"),
      ]);
    });
    await served([...options, "--flags", "not-need-init"], async (data) => {
      expect(await data.send(raw.startupState).response()).toBe(success);
    });
    expect(JSON.parse(run(["inspect", ...options, "--json"]).out)).toMatchObject({ orderly: true });
  });

  it("shuts the TPM down in order at SIGTERM", async () => {
    const options = ["--tpmstate", `dir=${newFolder()}`];
    await served([...options, "--flags", "startup-clear"], async () => {});
    await served([...options, "--flags", "not-need-init"], async (data) => {
      expect(await data.send(raw.startupState).response()).toBe(success);
    });
  });

  it("serves in the background once the command has ended, until it is told to end", async () => {
    const state = newFolder();
    const [socket, pid] = [join(state, "data"), join(state, "pid")];
    const args = ["socket", "--server", `type=unixio,path=${socket}`, "--tpmstate", `dir=${state}`];
    expect(run([...args, "--pid", `file=${pid}`, "--daemon"])).toEqual({ status: 0, out: "", err: "" });
    const data = await LoopbackClient.connect({ path: socket });
    expect(await data.send(raw.startupClear).response()).toBe(success);
    process.kill(Number(readFileSync(pid, "utf8")));
    expect(await data.read(1)).toBe("");
    while (existsSync(pid)) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(existsSync(socket)).toBe(false);
  });

  it("tells why the service in the background could not start", () => {
    const args = [
      "socket",
      "--server",
      "type=unixio,path=/nonexistent/data",
      "--tpmstate",
      `dir=${newFolder()}`,
    ];
    const { status, err } = run([...args, "--daemon"]);
    expect(status).toBe(1);
    expect(err).toContain("/nonexistent/data");
  });
});
