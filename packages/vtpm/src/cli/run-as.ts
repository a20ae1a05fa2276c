import { readFileSync } from "node:fs";
import { CommandError, EXIT_USAGE } from "./exit-status.ts";

/** Becomes another user, with that user's groups, for good. Throws `CommandError`, and what the system throws when this one may not. */
export function runAs(user: string): void {
  for (const line of readFileSync("/etc/passwd", "utf8").split("\n")) {
    const [name, , uid, gid] = line.split(":");
    if (name !== user && uid !== user) continue;
    const { initgroups } = process as { initgroups?: (user: string, group: number) => void };
    initgroups?.call(process, name!, Number(gid));
    process.setgid!(Number(gid));
    process.setuid!(Number(uid));
    return;
  }
  throw new CommandError(EXIT_USAGE, `--runas ${user}: there is no such user`);
}
