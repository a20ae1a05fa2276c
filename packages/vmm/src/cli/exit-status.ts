/** Exit statuses of the command. With `--exec` the guest command's own status takes their place. */
export const EXIT_OK = 0;
/** The guest or the machine failed. */
export const EXIT_FAILURE = 1;
/** The command line is wrong. */
export const EXIT_USAGE = 2;
/**
 * With `--test-device`: the kernel has ended, or could not start, without a result. Results are odd, so no other failure may be,
 * and this takes the place of EXIT_FAILURE.
 */
export const EXIT_NO_RESULT = 4;

/** A failure that is told in one line. `status` is the command's exit status. */
export class CommandError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}
