import { openSync, writeSync } from "node:fs";
import { KeyValues } from "./key-values.ts";

const LOG_MODE = 0o640;

/** Lines about the service: to stderr, a file, or nowhere. */
export type Log = (line: string) => void;

function writer(descriptor: number, prefix: string): Log {
  return (line) => {
    try {
      writeSync(descriptor, `${prefix}${line}\n`);
    } catch {
      // A log that cannot be written is no reason to stop serving.
    }
  };
}

/** `--log`. Throws `CommandError` and what the system throws. */
export function openLog(text: string | undefined, name: string): Log {
  if (text === undefined) return writer(2, `${name}: `);
  const values = new KeyValues("--log", text, ["file", "fd", "level", "prefix", "truncate"]);
  values.number("level", 100);
  const prefix = values.text("prefix") ?? "";
  const descriptor = values.number("fd", 2 ** 20);
  if (descriptor !== undefined) return writer(descriptor, prefix);
  const path = values.text("file");
  if (path === undefined) throw values.fault("needs file= or fd=");
  if (path === "-") return () => {};
  return writer(openSync(path, values.flag("truncate") ? "w" : "a", LOG_MODE), prefix);
}
