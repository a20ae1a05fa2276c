import { LineReader } from "./line-reader.ts";
import { QtestError } from "./qtest-error.ts";

/** Longest answer: the object tree of a large machine. */
const longestLine = 1 << 22;

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: QtestError) => void;
}

/**
 * QMP, the management protocol: JSON objects, one a line. Here it finds devices in the object tree, resets and ends the machine;
 * events are dropped.
 */
export class QmpChannel {
  readonly #write: (text: string) => void;
  readonly #reader = new LineReader(longestLine, (line) => this.#line(line));
  readonly #waiting: Waiting[] = [];
  #failure: QtestError | undefined;

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  receive(bytes: Uint8Array): void {
    if (this.#failure !== undefined) return;
    try {
      this.#reader.push(bytes);
    } catch (error) {
      this.fail(error instanceof QtestError ? error : new QtestError("protocol", String(error)));
    }
  }

  /** Ends the channel; everything that waits and that is still asked fails with `error`. */
  fail(error: QtestError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }

  /** Gives the command's "return". Rejects with "refused" when it has an error instead. */
  execute(command: string, parameters: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) {
        reject(this.#failure);
        return;
      }
      this.#waiting.push({ resolve, reject });
      this.#write(`${JSON.stringify({ execute: command, arguments: parameters })}\n`);
    });
  }

  #line(line: string): void {
    const message = parsed(line);
    if ("QMP" in message || "event" in message) return;
    const waiting = this.#waiting.shift();
    if (waiting === undefined) throw new QtestError("protocol", "QMP: an answer that nobody asked for");
    if ("return" in message) waiting.resolve(message["return"]);
    else waiting.reject(new QtestError("refused", `QMP: ${JSON.stringify(message["error"])}`.slice(0, 400)));
  }
}

function parsed(line: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new QtestError("protocol", "QMP: a line that is no JSON", { cause: error });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new QtestError("protocol", "QMP: a line that is no object");
  return value as Record<string, unknown>;
}
