import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { CS_32, CS_64, nativeDefinitions, R_RIP, R_SELECTORS, R_SIZE, R_VECTOR } from "./record.ts";

/** This machine cannot be the reference: no x86-64 Linux, no C compiler, or a sandbox that forbids what native.c does. */
export class NativeUnavailableError extends Error {
  override name = "NativeUnavailableError";
}

/** Exit status of native.c when the system refuses it something. */
const REFUSED = 3;

/** Whether this machine can be the reference, found out by starting the native side once. */
export async function nativeAvailable(source: string): Promise<boolean> {
  try {
    (await Native.start(source, 1)).close();
    return true;
  } catch (error) {
    if (error instanceof NativeUnavailableError) return false;
    throw error;
  }
}

/**
 * The processor of this machine, as a child process that runs records in place.
 *
 * `source` is native.c; it is compiled into a temporary folder that `close` removes.
 */
export class Native {
  readonly vendor: string;
  /** Whether the kernel runs 32-bit code segments. */
  code32 = false;
  /** Whether user code may use RDFSBASE and its kin. */
  readonly baseInstructions: boolean;
  /** Whether the kernel lets a process have segments of its own, 16-bit code among them. */
  readonly segments: boolean;
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #file: number;
  readonly #answers: Answers;

  private constructor(child: ChildProcess, folder: string, file: number, answers: Answers, hello: Buffer) {
    this.#child = child;
    this.#folder = folder;
    this.#file = file;
    this.#answers = answers;
    process.once("exit", this.#cleanUp);
    this.vendor = hello.toString("latin1", 0, 12);
    const abilities = hello.readUInt32LE(12);
    this.baseInstructions = (abilities & 1) !== 0;
    this.segments = (abilities & 2) !== 0;
  }

  /** Compiles and starts `source`, with room for `capacity` records. Throws NativeUnavailableError. */
  static async start(source: string, capacity: number): Promise<Native> {
    if (process.platform !== "linux" || process.arch !== "x64") {
      throw new NativeUnavailableError("the reference of the differential test must be an x86-64 Linux");
    }
    const shared = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
    const folder = mkdtempSync(join(shared, "entresol-differential-"));
    try {
      // Programs may be forbidden in /dev/shm, so the program goes elsewhere.
      const program = compile(source, mkdtempSync(join(tmpdir(), "entresol-differential-")));
      const path = join(folder, "records");
      const file = openSync(path, "w+");
      writeSync(file, new Uint8Array(1), 0, 1, capacity * R_SIZE - 1);
      const child = spawn(program, [path, String(capacity)], { stdio: ["pipe", "pipe", "inherit"] });
      const answers = new Answers(child);
      const native = new Native(child, folder, file, answers, await answers.take(16));
      rmSync(dirname(program), { recursive: true });
      native.code32 = await native.#tryCode32();
      return native;
    } catch (error) {
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Runs the first `count` records of `records`; the outcomes replace them. */
  async run(records: Uint8Array, count: number): Promise<void> {
    writeAll(this.#file, records, count * R_SIZE);
    const request = Buffer.alloc(4);
    request.writeUInt32LE(count);
    this.#child.stdin?.write(request);
    const echo = await this.#answers.take(4);
    if (echo.readUInt32LE() !== count) throw new Error("the native side lost count");
    readAll(this.#file, records, count * R_SIZE);
  }

  close(): void {
    process.off("exit", this.#cleanUp);
    this.#child.stdin?.end();
    closeSync(this.#file);
    this.#cleanUp();
  }

  readonly #cleanUp = () => rmSync(this.#folder, { recursive: true, force: true });

  /** Enters a 32-bit code segment at an end marker: with IA32 emulation off the kernel has no such segment. */
  async #tryCode32(): Promise<boolean> {
    const record = new Uint8Array(R_SIZE);
    const view = new DataView(record.buffer);
    view.setUint32(R_RIP, 0x10001000, true);
    view.setUint16(R_SELECTORS + 2, CS_32, true);
    view.setUint16(R_SELECTORS + 4, 0x2b, true);
    await this.run(record, 1);
    return (
      view.getUint32(R_VECTOR, true) === 13 &&
      view.getUint16(R_SELECTORS + 2, true) !== CS_64 &&
      view.getUint32(R_RIP, true) === 0x10001000
    );
  }
}

/** Returns the path of the program. */
function compile(source: string, folder: string): string {
  const program = join(folder, "native");
  const options = ["-O2", "-fno-stack-protector", "-o", program, source, ...nativeDefinitions()];
  try {
    execFileSync("cc", options, { stdio: ["ignore", "ignore", "pipe"] });
  } catch (cause) {
    rmSync(folder, { recursive: true, force: true });
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") {
      throw new NativeUnavailableError("the differential test needs a C compiler, cc", { cause });
    }
    throw new Error(`native.c does not compile: ${(cause as { stderr?: Buffer }).stderr}`, { cause });
  }
  return program;
}

/** Bytes from the child's standard output, taken in order. */
class Answers {
  #bytes = Buffer.alloc(0);
  #wanted = 0;
  #resolve: ((bytes: Buffer) => void) | undefined;
  #reject: ((error: Error) => void) | undefined;
  #ended = false;

  constructor(child: ChildProcess) {
    child.stdout?.on("data", (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      this.#deliver();
    });
    child.on("exit", (code, signal) => {
      this.#ended = true;
      const message = `the native side ended: ${signal ?? code}`;
      this.#reject?.(code === REFUSED ? new NativeUnavailableError(message) : new Error(message));
    });
    child.on("error", (error) => {
      this.#ended = true;
      this.#reject?.(error);
    });
  }

  take(count: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.#wanted = count;
      this.#resolve = resolve;
      this.#reject = reject;
      if (this.#ended) reject(new Error("the native side has ended"));
      this.#deliver();
    });
  }

  #deliver(): void {
    if (this.#resolve === undefined || this.#bytes.length < this.#wanted) return;
    const resolve = this.#resolve;
    this.#resolve = undefined;
    this.#reject = undefined;
    const taken = this.#bytes.subarray(0, this.#wanted);
    this.#bytes = this.#bytes.subarray(this.#wanted);
    resolve(taken);
  }
}

function writeAll(file: number, bytes: Uint8Array, length: number): void {
  for (let done = 0; done < length; ) done += writeSync(file, bytes, done, length - done, done);
}

function readAll(file: number, bytes: Uint8Array, length: number): void {
  for (let done = 0; done < length; ) {
    const count = readSync(file, bytes, done, length - done, done);
    if (count === 0) throw new Error("the record file ended early");
    done += count;
  }
}
