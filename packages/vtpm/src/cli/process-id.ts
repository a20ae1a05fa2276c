import { unlinkSync, writeFileSync } from "node:fs";
import { KeyValues } from "./key-values.ts";

/** `--pid`: writes this process's number. Gives what takes it away again. Throws `CommandError` and what the system throws. */
export function writeProcessId(text: string | undefined): () => void {
  if (text === undefined) return () => {};
  const values = new KeyValues("--pid", text, ["file", "fd"]);
  const descriptor = values.number("fd", 2 ** 20);
  const path = values.text("file");
  const target = descriptor ?? path;
  if (target === undefined) throw values.fault("needs file= or fd=");
  writeFileSync(target, `${process.pid}`);
  return () => {
    if (path === undefined || target !== path) return;
    try {
      unlinkSync(path);
    } catch {
      // Somebody was faster.
    }
  };
}
