import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { MssimService } from "./mssim-service.ts";
import { SocketService } from "./socket-service.ts";
import { MemoryStore } from "./state-store.ts";
import { TpmHost } from "./tpm-host.ts";

/*
 * tpm2-tools, which speak to a TPM through tpm2-tss, over both of its network protocols. Each protocol gets a service on two ports in a row,
 * as tpm2-tss takes the second for granted.
 */

const missing = spawnSync("tpm2_getrandom", ["--version"]).error !== undefined;
if (missing) {
  if (process.env["ENTRESOL_REQUIRE_PEERS"] === "1") throw new Error("tpm2-tools is not installed");
  console.log("tpm2-tools is not installed: the TPM service is not used by an independent client");
}

const folder = mkdtempSync(join(tmpdir(), "entresol-vtpm-peers-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

interface Ports {
  close(): Promise<void>;
}

/** Two ports in a row that are free: others may be faster, then the next two are tried. */
async function onTwoPorts(open: (port: number) => Promise<Ports>): Promise<number> {
  for (let port = 20_000 + (process.pid % 20_000); ; port += 2) {
    try {
      const service = await open(port);
      cleanups.push(() => service.close());
      return port;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
    }
  }
}

const at = (port: number) => ({ kind: "tcp", port, address: "127.0.0.1" }) as const;
const services = {
  swtpm(port: number) {
    const host = new TpmHost({ store: new MemoryStore() });
    host.start();
    return SocketService.open({ host, data: at(port), control: at(port + 1) });
  },
  mssim(port: number) {
    const host = new TpmHost({ store: new MemoryStore(), abrupt: true });
    return MssimService.open({ host, command: at(port), platform: at(port + 1) });
  },
} as const;

function tool(tcti: string, name: string, ...args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(name, args, { env: { ...process.env, TPM2TOOLS_TCTI: tcti }, cwd: folder });
    let out = "";
    let err = "";
    child.stdout.on("data", (chunk) => {
      out += chunk;
    });
    child.stderr.on("data", (chunk) => {
      err += chunk;
    });
    child.on("error", reject);
    child.on("close", (status) =>
      status === 0 ? resolve(out) : reject(new Error(`${name} ${args.join(" ")}: ${status}: ${err}`)),
    );
  });
}

describe.skipIf(missing)("tpm2-tools", () => {
  it.each(["swtpm", "mssim"] as const)("use the TPM over %s", async (kind) => {
    const port = await onTwoPorts(services[kind]);
    const run = (name: string, ...args: readonly string[]) =>
      tool(`${kind}:host=127.0.0.1,port=${port}`, name, ...args);
    await run("tpm2_startup", "-c");
    expect(await run("tpm2_getrandom", "--hex", "16")).toMatch(/^[0-9a-f]{32}$/);
    const digest = "61".repeat(32);
    await run("tpm2_pcrextend", `16:sha256=${digest}`);
    expect(await run("tpm2_pcrread", "sha256:16")).toContain(
      "16: 0x02E1135630209ABF08D0402D579A5282ED2B5B50BB51EE0ED1450792D5D979A0",
    );
    await run("tpm2_pcrreset", "16");
    expect(await run("tpm2_pcrread", "sha256:16")).toContain(`16: 0x${"0".repeat(64)}`);
    expect(await run("tpm2_getcap", "properties-fixed")).toContain('value: "2.0"');
  });
});
