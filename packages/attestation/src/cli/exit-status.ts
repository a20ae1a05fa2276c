export const EXIT_ACCEPTED = 0;
export const EXIT_REJECTED = 1;
/** Could not judge, or the command line is wrong. */
export const EXIT_UNJUDGED = 2;

/** What is told in one line, without a verdict: exit status 2. */
export class CommandError extends Error {
  override readonly name = "CommandError";
}
