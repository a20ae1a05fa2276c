import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { main } from "../cli/main.ts";

/** What a command line did. */
export interface Run {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `entresol-verify` in this process, one at a time. */
export async function run(...args: readonly string[]): Promise<Run> {
  const kept = { stdout: process.stdout.write, stderr: process.stderr.write };
  const written = { stdout: "", stderr: "" };
  const into =
    (name: "stdout" | "stderr") =>
    (chunk: string | Uint8Array): boolean => {
      written[name] += typeof chunk === "string" ? chunk : Buffer.from(chunk).toString("latin1");
      return true;
    };
  process.stdout.write = into("stdout");
  process.stderr.write = into("stderr");
  try {
    const status = await main(args);
    return { status, ...written };
  } finally {
    process.stdout.write = kept.stdout;
    process.stderr.write = kept.stderr;
  }
}

/** A folder that is gone when the caller's scope ends. */
export function scratchFolder(): { readonly path: string; [Symbol.dispose](): void } {
  const path = mkdtempSync(join(tmpdir(), "entresol-verify-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}
