import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { WebSocket } from "ws";

/* `--serial` of the built command, with the built-in test guest, which prints to COM1 and powers off. */

const program = new URL("../../bin/entresol.js", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "entresol-lines-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs the command; `onLine` sees what it says on stderr as it comes. */
function boot(args: string[], onLine?: (text: string) => void) {
  return new Promise<{ status: number | null; out: string; err: string }>((resolve) => {
    const child = spawn(process.execPath, [program, "boot", ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, NO_COLOR: "1" },
    });
    let out = "";
    let err = "";
    child.stdout.on("data", (chunk) => {
      out += chunk;
    });
    child.stderr.on("data", (chunk) => {
      err += chunk;
      onLine?.(String(chunk));
    });
    child.on("close", (status) => resolve({ status, out, err }));
  });
}

const first = "Entresol test guest";
const last = /^DONE \d+ 0|^DONE \d+ passed, 0 failed/m;

describe("entresol boot --serial", () => {
  it("com1=file:PATH: the console's output is in the file and not on stdout", async () => {
    const path = join(folder, "console.log");
    const { status, out } = await boot(["--guest", "test", "--serial", `com1=file:${path}`]);
    expect(status).toBe(0);
    expect(out).not.toContain(first);
    expect(out).toContain("instructions/s");
    const text = readFileSync(path, "utf8");
    expect(text).toContain(first);
    expect(text).toMatch(last);
  });

  it("com1=socket:unix:PATH,connect: a server gets all of it before the command ends", async () => {
    const path = join(folder, "server");
    let text = "";
    const server = createServer((socket) => {
      socket.on("data", (data) => {
        text += data.toString();
      });
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const { status, err } = await boot(["--guest", "test", "--serial", `com1=socket:unix:${path},connect`]);
    server.close();
    expect(status).toBe(0);
    expect(err).toContain(`com1 is socket ${path}`);
    expect(text).toContain(first);
    expect(text).toMatch(last);
  });

  it("com1=websocket:0: the port is told; who comes late gets what was kept", async () => {
    let text = "";
    const { status } = await boot(
      ["--guest", "test", "--serial", "com1=websocket:0", "--serial", "com3=null"],
      (line) => {
        const where = /ws:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0];
        if (where === undefined || !line.includes("com1 is")) return;
        const peer = new WebSocket(where);
        peer.on("message", (data: Buffer) => {
          text += data.toString();
        });
        peer.on("error", () => {});
      },
    );
    expect(status).toBe(0);
    expect(text).toContain(first);
    expect(text).toMatch(last);
  });

  it("tells how much did not arrive when nobody came", async () => {
    const { status, err } = await boot([
      "--guest",
      "test",
      "--serial",
      `com1=socket:unix:${join(folder, "nobody")}`,
    ]);
    expect(status).toBe(0);
    expect(err).toMatch(/com1: \d+ bytes of output did not arrive/);
  });

  it("com1=null --json: nothing is shown, the report still has the console's output", async () => {
    const { status, out } = await boot(["--guest", "test", "--json", "--serial", "com1=null"]);
    expect(status).toBe(0);
    expect(JSON.parse(out).serial).toMatch(last);
  });

  it("com1=console,policy=ring: shown on stdout as without", async () => {
    const { status, out } = await boot(["--guest", "test", "--serial", "com1=console,policy=ring,keep=1M"]);
    expect(status).toBe(0);
    expect(out).toMatch(last);
  });

  it.each([
    [["--serial", "com9=null"], 2, "It must begin with com1= to com4="],
    [["--serial", "com2=null", "--exec", "true"], 2, "--exec speaks to the guest over com2"],
    [["--serial", `com1=file:${folder}`], 1, "cannot append to"],
    [["--serial", `com1=socket:unix:${folder}/no/line`], 1, "cannot listen on"],
  ])("%j ends with status %i and %s", async (args, status, message) => {
    const outcome = await boot(args);
    expect(outcome.status).toBe(status);
    expect(outcome.err).toContain(message);
    expect(outcome.err).not.toMatch(/^ {4}at /m);
  });
});
