import { EntresolError } from "@entresol/wire";

/**
 * "no-qemu": the program cannot be run. "start-failed": it ended before it answered. "start-timeout": it did not answer in time.
 * "exited": it ended while commands were under way. "protocol": it said something that the protocol does not have.
 * "refused": it answered a command with FAIL or ERR, or a QMP command with an error. "bad-argument": a command that QEMU would
 * abort on, or that is no command, was not sent. "closed": the machine was shut down.
 */
export type QtestErrorCode =
  | "no-qemu"
  | "start-failed"
  | "start-timeout"
  | "exited"
  | "protocol"
  | "refused"
  | "bad-argument"
  | "closed";

/** Everything that goes wrong with a QEMU that is driven over qtest. */
export class QtestError extends EntresolError<QtestErrorCode> {
  override readonly name = "QtestError";
}
