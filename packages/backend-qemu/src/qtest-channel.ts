import { LineReader } from "./line-reader.ts";
import { QtestError } from "./qtest-error.ts";
import { commandOf, type QtestOperation } from "./qtest-operation.ts";

/*
 * The qtest protocol, apart from the socket that carries it: commands are lines, answered in order by lines that begin with OK,
 * FAIL or ERR; in between come "IRQ raise N" and "IRQ lower N" of the device whose lines are intercepted.
 */

/** What came back from a batch, by index of the operation. */
export interface QtestAnswers {
  /** What a read gave; 0 for the other operations. */
  readonly values: Float64Array;
  /** Levels of the intercepted lines when the operation was answered, line 0 in bit 0; lines above 31 are not kept. */
  readonly levels: Uint32Array;
}

interface Waiting {
  /** Takes one answer without its OK; true when it was the last. */
  take(text: string): boolean;
  /** QEMU refused: true when it was the last answer. */
  refused(line: string): boolean;
  fail(error: QtestError): void;
}

/** Longest answer: a transfer of 512 KiB in base64. */
const longestLine = 1 << 20;
/** Operations that are sent before their answers are awaited; both directions fit the sockets' buffers and Node's. */
const window = 4096;

export class QtestChannel {
  readonly #write: (text: string) => void;
  readonly #reader = new LineReader(longestLine, (line) => this.#line(line));
  #waiting: Waiting[] = [];
  #head = 0;
  #failure: QtestError | undefined;
  #levels = 0;

  /** `write` sends text to QEMU. */
  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  /** Levels of the intercepted lines as far as heard, line 0 in bit 0. */
  get levels(): number {
    return this.#levels;
  }

  /** Forgets levels: another device's lines follow. */
  clearLevels(): void {
    this.#levels = 0;
  }

  /** Bytes from QEMU. What is no answer ends the channel: everything that waits fails with "protocol". */
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
    const waiting = this.#waiting.slice(this.#head);
    this.#waiting = [];
    this.#head = 0;
    for (const each of waiting) each.fail(error);
  }

  /** One command line; gives what follows the OK. Rejects with "refused" when QEMU says FAIL or ERR. */
  command(line: string): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#send(`${line}\n`, {
        take: (text) => {
          resolve(text);
          return true;
        },
        refused: (answer) => {
          reject(new QtestError("refused", `${line}: ${answer}`));
          return true;
        },
        fail: reject,
      });
    });
  }

  /** Any number of operations, sent without waiting for each other. Nothing is sent when one of them cannot be. */
  async perform(operations: readonly QtestOperation[]): Promise<QtestAnswers> {
    const lines = operations.map(commandOf);
    const answers = {
      values: new Float64Array(lines.length),
      levels: new Uint32Array(lines.length),
    };
    for (let first = 0; first < lines.length; first += window) {
      await this.#performSome(lines.slice(first, first + window), first, answers);
    }
    return answers;
  }

  #performSome(lines: readonly string[], first: number, answers: QtestAnswers): Promise<void> {
    return new Promise((resolve, reject) => {
      let index = 0;
      let refusal: QtestError | undefined;
      const next = (): boolean => {
        index++;
        if (index < lines.length) return false;
        if (refusal === undefined) resolve();
        else reject(refusal);
        return true;
      };
      this.#send(`${lines.join("\n")}\n`, {
        take: (text) => {
          const value = text === "" ? 0 : Number(text);
          if (!Number.isFinite(value))
            throw new QtestError("protocol", `${lines[index]}: no number: ${shown(text)}`);
          answers.values[first + index] = value;
          answers.levels[first + index] = this.#levels;
          return next();
        },
        refused: (answer) => {
          refusal ??= new QtestError("refused", `${lines[index]}: ${answer}`);
          return next();
        },
        fail: reject,
      });
    });
  }

  #send(text: string, waiting: Waiting): void {
    if (this.#failure !== undefined) {
      waiting.fail(this.#failure);
      return;
    }
    this.#waiting.push(waiting);
    this.#write(text);
  }

  #line(line: string): void {
    if (line.startsWith("IRQ ")) {
      this.#event(line);
      return;
    }
    const waiting = this.#waiting[this.#head];
    if (waiting === undefined)
      throw new QtestError("protocol", `an answer that nobody asked for: ${shown(line)}`);
    let last: boolean;
    if (line === "OK" || line.startsWith("OK ")) last = waiting.take(line.slice(3));
    else if (line.startsWith("FAIL") || line.startsWith("ERR")) last = waiting.refused(shown(line));
    else throw new QtestError("protocol", `no answer: ${shown(line)}`);
    if (!last) return;
    this.#head++;
    if (this.#head === this.#waiting.length) {
      this.#waiting = [];
      this.#head = 0;
    }
  }

  #event(line: string): void {
    const event = /^IRQ (raise|lower) (\d{1,5})$/.exec(line);
    if (event === null) throw new QtestError("protocol", `no event: ${shown(line)}`);
    const number = Number(event[2]);
    if (number > 31) return;
    if (event[1] === "raise") this.#levels |= 1 << number;
    else this.#levels &= ~(1 << number);
  }
}

/** Of a line from QEMU, what a message may hold. */
function shown(line: string): string {
  return JSON.stringify(line.length > 120 ? `${line.slice(0, 120)}...` : line);
}
