import { Alg, commands, type NamedCommand } from "@entresol/tpm-types";
import type { Engine } from "./engine.ts";

/* Command audit (Part 1, clause 18): chosen commands leave a trace in one digest, whoever sends them. */

/** Audited always, and they cannot be taken off the list (Part 3, 21.2). */
const always: ReadonlySet<string> = new Set(["SetCommandCodeAuditStatus"]);
const alwaysCode = commands.SetCommandCodeAuditStatus.code;

/** Codes of all commands that are audited, as TPM_CAP_AUDIT_COMMANDS tells them. */
export function auditedCommands(engine: Engine): readonly number[] {
  return [...new Set([alwaysCode, ...engine.state.permanent.auditCommands])];
}

/** The hash by which the command is audited; undefined when it is not. */
export function auditsCommand(engine: Engine, command: NamedCommand): number | undefined {
  const { auditCommands, auditHash } = engine.state.permanent;
  if (auditHash === Alg.NULL) return undefined;
  return always.has(command.name) || auditCommands.includes(command.code) ? auditHash : undefined;
}

/** Extends the digest. The first one since it was last read out counts as an audit of its own, for which NV has a counter. */
export function extendCommandAudit(
  engine: Engine,
  command: NamedCommand,
  cpHash: Uint8Array,
  rpHash: Uint8Array,
): void {
  const { permanent, reset } = engine.state;
  // Shutdown cannot change what it has just saved, and the digest's own command starts anew (Part 3, 21.2).
  if (command.name === "Shutdown") return;
  if (reset.commandAuditDigest.length === 0) {
    permanent.auditCounter++;
    engine.nvDirty = true;
    reset.commandAuditDigest = new Uint8Array(cpHash.length);
  }
  reset.commandAuditDigest = engine.crypto.hash(
    permanent.auditHash,
    reset.commandAuditDigest,
    cpHash,
    rpHash,
  );
}
