import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import {
  CS_32,
  CS_64,
  nativeDefinitions,
  R_RIP,
  R_SELECTORS,
  R_SIZE,
  R_VECTOR,
  R_VECTOR_LOST,
} from "./record.ts";

/** This machine cannot be the reference: no x86-64 Linux, no C compiler, or a sandbox that forbids what native.c does. */
export class NativeUnavailableError extends Error {
  override name = "NativeUnavailableError";
}

/** Exit status of native.c when the system refuses it something. */
const REFUSED = 3;
/** In place of a vector: this record has not been run. */
const NOT_RUN = 0xffffffff;

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
  /** The vendor string of CPUID. */
  vendor = "";
  /** Whether the kernel runs 32-bit code segments. */
  code32 = false;
  /** Whether user code may use RDFSBASE and its kin. */
  baseInstructions = false;
  /** Whether the kernel lets a process have segments of its own, 16-bit code among them. */
  segments = false;
  readonly #program: string;
  readonly #capacity: number;
  /** Holds the file of records, which the child maps. */
  readonly #folder: string;
  readonly #file: number;
  #child: Child | undefined;

  private constructor(program: string, capacity: number) {
    this.#program = program;
    this.#capacity = capacity;
    const shared = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
    this.#folder = mkdtempSync(join(shared, "entresol-differential-"));
    this.#file = openSync(join(this.#folder, "records"), "w+");
    process.once("exit", this.#cleanUp);
    writeSync(this.#file, new Uint8Array(1), 0, 1, capacity * R_SIZE - 1);
  }

  /** Compiles and starts `source`, with room for `capacity` records. Throws NativeUnavailableError. */
  static async start(source: string, capacity: number): Promise<Native> {
    if (process.platform !== "linux" || process.arch !== "x64") {
      throw new NativeUnavailableError("the reference of the differential test must be an x86-64 Linux");
    }
    const native = new Native(compile(source), capacity);
    try {
      await native.#begin();
      native.code32 = await native.#tryCode32();
      return native;
    } catch (error) {
      native.close();
      throw error;
    }
  }

  /**
   * Runs the first `count` records of `records`; the outcomes replace them. A case that takes the child process down with
   * it (only code that has modified itself can) gets the vector VECTOR_LOST and the state that it started from.
   */
  async run(records: Uint8Array, count: number): Promise<void> {
    const view = new DataView(records.buffer, records.byteOffset, records.byteLength);
    for (let i = 0; i < count; i++) view.setUint32(i * R_SIZE + R_VECTOR, NOT_RUN, true);
    for (let first = 0; first < count; ) {
      const part = records.subarray(first * R_SIZE, count * R_SIZE);
      writeAll(this.#file, part);
      const whole = await this.#request(count - first);
      readAll(this.#file, part);
      if (whole) return;
      while (first < count && view.getUint32(first * R_SIZE + R_VECTOR, true) !== NOT_RUN) first++;
      if (first < count) view.setUint32(first * R_SIZE + R_VECTOR, R_VECTOR_LOST, true);
      first++;
      await this.#begin();
    }
  }

  close(): void {
    process.off("exit", this.#cleanUp);
    this.#child?.end();
    closeSync(this.#file);
    this.#cleanUp();
  }

  async #begin(): Promise<void> {
    this.#child = new Child(this.#program, [join(this.#folder, "records"), String(this.#capacity)]);
    const hello = await this.#child.take(16);
    this.vendor = hello.toString("latin1", 0, 12);
    const abilities = hello.readUInt32LE(12);
    this.baseInstructions = (abilities & 1) !== 0;
    this.segments = (abilities & 2) !== 0;
  }

  /** False when the child ended instead of answering. */
  async #request(count: number): Promise<boolean> {
    const request = Buffer.alloc(4);
    request.writeUInt32LE(count);
    try {
      return (await this.#child?.ask(request, 4))?.readUInt32LE() === count;
    } catch (error) {
      if (error instanceof ChildEndedError) return false;
      throw error;
    }
  }

  readonly #cleanUp = () => {
    for (const folder of [this.#folder, dirname(this.#program)])
      rmSync(folder, { recursive: true, force: true });
  };

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

/** Returns the path of the program, alone in a folder. Not in /dev/shm, where programs may be forbidden. */
function compile(source: string): string {
  const folder = mkdtempSync(join(tmpdir(), "entresol-differential-"));
  const program = join(folder, "native");
  const options = [
    "-O2",
    "-fno-stack-protector",
    "-mno-red-zone",
    "-o",
    program,
    source,
    ...nativeDefinitions(),
  ];
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

class ChildEndedError extends Error {
  override name = "ChildEndedError";
}

/** A child process that is asked and answers over its standard input and output. */
class Child {
  readonly #process: ChildProcess;
  #bytes = Buffer.alloc(0);
  #wanted = 0;
  #resolve: ((bytes: Buffer) => void) | undefined;
  #reject: ((error: Error) => void) | undefined;
  #ended: Error | undefined;

  constructor(program: string, parameters: string[]) {
    this.#process = spawn(program, parameters, { stdio: ["pipe", "pipe", "inherit"] });
    this.#process.stdout?.on("data", (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      this.#deliver();
    });
    this.#process.on("exit", (code, signal) => {
      const message = `the native side ended: ${signal ?? code}`;
      this.#end(code === REFUSED ? new NativeUnavailableError(message) : new ChildEndedError(message));
    });
    this.#process.on("error", (error) => this.#end(error));
    // A child that has ended is noticed by its exit.
    this.#process.stdin?.on("error", () => {});
  }

  ask(request: Buffer, answerBytes: number): Promise<Buffer> {
    this.#process.stdin?.write(request);
    return this.take(answerBytes);
  }

  /** The next `count` bytes of its output. */
  take(count: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.#wanted = count;
      this.#resolve = resolve;
      this.#reject = reject;
      if (this.#ended !== undefined) reject(this.#ended);
      else this.#deliver();
    });
  }

  end(): void {
    this.#process.stdin?.end();
  }

  #end(error: Error): void {
    this.#ended = error;
    this.#reject?.(error);
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

function writeAll(file: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done, bytes.length - done, done);
}

function readAll(file: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) {
    const count = readSync(file, bytes, done, bytes.length - done, done);
    if (count === 0) throw new Error("the record file ended early");
    done += count;
  }
}
