import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parkImage } from "./park-image.ts";
import { QemuProcess } from "./qemu-process.ts";
import { QmpChannel } from "./qmp-channel.ts";
import { type QtestAnswers, QtestChannel } from "./qtest-channel.ts";
import { QtestError } from "./qtest-error.ts";
import { type AccessWidth, checkedAddress, checkedPath, type QtestOperation } from "./qtest-operation.ts";

export interface QtestMachineOptions {
  /** The program, by default qemu-system-x86_64 in PATH. */
  readonly program?: string;
  /** "q35" or "pc", with properties as QEMU writes them; TCG is added. */
  readonly machine?: string;
  /** RAM in MiB. */
  readonly memory?: number;
  /** Further arguments, such as ["-device", "edu"]. */
  readonly arguments?: readonly string[];
  /** Names of trace events, `*` allowed, that are written to standard error. */
  readonly trace?: readonly string[];
  /** Takes each line of QEMU's standard error. */
  readonly onLine?: (line: string) => void;
  /** Time for the start, in ms. */
  readonly startTimeout?: number;
}

/** Bytes of one transfer: the answer in base64 is one line. */
const largestTransfer = 1 << 19;
/** Time for QEMU to end by itself once it was asked to, in ms. */
const quitTimeout = 2000;

/**
 * A QEMU whose processor sleeps and whose devices a test drives: ports, memory, interrupt inputs and outputs. It runs in real
 * time, as QEMU offers no other without its qtest accelerator. All methods reject with `QtestError`.
 *
 *     await using machine = await QtestMachine.start();
 *     await machine.portRead(0x3fd, 1); // 0x60
 */
export class QtestMachine implements AsyncDisposable {
  readonly #process: QemuProcess;
  readonly #qtest: QtestChannel;
  readonly #qmp: QmpChannel;
  readonly #sockets: readonly Socket[];
  #closed: Promise<void> | undefined;

  private constructor(process: QemuProcess, qtest: Link<QtestChannel>, qmp: Link<QmpChannel>) {
    this.#process = process;
    this.#qtest = qtest.channel;
    this.#qmp = qmp.channel;
    this.#sockets = [qtest.socket, qmp.socket];
  }

  /** Starts QEMU and waits until it answers. Rejects with "no-qemu", "start-failed" or "start-timeout", and leaves nothing behind. */
  static async start(options: QtestMachineOptions = {}): Promise<QtestMachine> {
    const folder = await mkdtemp(join(tmpdir(), "entresol-qtest-"));
    const paths = {
      qtest: join(folder, "qtest"),
      qmp: join(folder, "qmp"),
      firmware: join(folder, "park.bin"),
    };
    const servers: Server[] = [];
    let process: QemuProcess | undefined;
    let deadline: NodeJS.Timeout | undefined;
    let started: QtestMachine | undefined;
    try {
      await writeFile(paths.firmware, parkImage());
      const connections = await Promise.all([listen(paths.qtest, servers), listen(paths.qmp, servers)]);
      const running = new QemuProcess({
        program: options.program ?? "qemu-system-x86_64",
        arguments: commandLine(options, paths),
        onLine: options.onLine,
      });
      process = running;
      const timeout = new Promise<never>((_, reject) => {
        const wait = options.startTimeout ?? 20_000;
        deadline = setTimeout(
          () => reject(new QtestError("start-timeout", `QEMU did not answer within ${wait} ms`)),
          wait,
        );
      });
      const ended = running.ended.then(() => Promise.reject(running.failure("start-failed")));
      const start = async (): Promise<QtestMachine> => {
        const [qtestSocket, qmpSocket] = await Promise.all(connections.map(({ connected }) => connected));
        const qtest = link(qtestSocket!, (write) => new QtestChannel(write));
        const qmp = link(qmpSocket!, (write) => new QmpChannel(write));
        const machine = new QtestMachine(running, qtest, qmp);
        started = machine;
        // Its answers come from the main loop: by then the firmware was read.
        await qmp.channel.execute("qmp_capabilities");
        await qtest.channel.command("endianness");
        return machine;
      };
      const machine = await Promise.race([start(), timeout, ended]);
      running.ended.then(() => machine.#fail(running.failure("exited")));
      return machine;
    } catch (error) {
      if (started !== undefined) started.#fail(new QtestError("closed", "QEMU did not start"));
      await process?.kill();
      throw error;
    } finally {
      clearTimeout(deadline);
      for (const server of servers) server.close();
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** IN. `port` 0 to 65535. */
  async portRead(port: number, width: AccessWidth): Promise<number> {
    return (await this.perform([{ kind: "port read", port, width }])).values[0]!;
  }

  /** OUT. */
  async portWrite(port: number, width: AccessWidth, value: number): Promise<void> {
    await this.perform([{ kind: "port write", port, width, value }]);
  }

  /** A read at guest physical address `at`, of RAM or of a device. */
  async mmioRead(at: number, width: AccessWidth): Promise<number> {
    return (await this.perform([{ kind: "memory read", at, width }])).values[0]!;
  }

  async mmioWrite(at: number, width: AccessWidth, value: number): Promise<void> {
    await this.perform([{ kind: "memory write", at, width, value }]);
  }

  /** As `mmioRead`, of 8 bytes. */
  async mmioRead64(at: number): Promise<bigint> {
    return bigIntOf(await this.#qtest.command(`readq ${checkedAddress(at)}`));
  }

  async mmioWrite64(at: number, value: bigint): Promise<void> {
    if (value < 0n || value >= 1n << 64n)
      throw new QtestError("bad-argument", `value ${value} does not fit 64 bits`);
    await this.#qtest.command(`writeq ${checkedAddress(at)} 0x${value.toString(16)}`);
  }

  /** `length` bytes of guest memory from `at` on. */
  async readMemory(at: number, length: number): Promise<Uint8Array> {
    checkedAddress(at);
    checkedAddress(at + length);
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; done += largestTransfer) {
      const count = Math.min(largestTransfer, length - done);
      const text = await this.#qtest.command(`b64read ${checkedAddress(at + done)} 0x${count.toString(16)}`);
      const piece = Buffer.from(text, "base64");
      if (piece.length !== count)
        throw new QtestError("protocol", `b64read gave ${piece.length} bytes instead of ${count}`);
      bytes.set(piece, done);
    }
    return bytes;
  }

  async writeMemory(at: number, bytes: Uint8Array): Promise<void> {
    checkedAddress(at + bytes.length);
    for (let done = 0; done < bytes.length; done += largestTransfer) {
      const piece = bytes.subarray(done, done + largestTransfer);
      const text = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength).toString("base64");
      await this.#qtest.command(
        `b64write ${checkedAddress(at + done)} 0x${piece.length.toString(16)} ${text}`,
      );
    }
  }

  /** Any number of operations, pipelined; their answers in order. */
  perform(operations: readonly QtestOperation[]): Promise<QtestAnswers> {
    return this.#qtest.perform(operations);
  }

  /** Levels of the intercepted lines, line 0 in bit 0, as of the last answer. */
  get levels(): number {
    return this.#qtest.levels;
  }

  /**
   * Makes the inputs of the device at `path` known from now on, or its outputs; they stay connected. One device of a machine can be
   * listened to; QEMU takes the levels of that moment for low.
   */
  async intercept(side: "inputs" | "outputs", path: string): Promise<void> {
    this.#qtest.clearLevels();
    await this.#qtest.command(`irq_intercept_${side === "inputs" ? "in" : "out"} ${checkedPath(path)}`);
  }

  /** Drives input `line` of the device at `path`. */
  async setInput(path: string, line: number, level: boolean): Promise<void> {
    await this.perform([{ kind: "input", path, line, level }]);
  }

  /** Paths of the machine's own devices of a type, such as "isa-i8259", in the order in which the machine made them. */
  async devicesOfType(type: string): Promise<string[]> {
    const root = "/machine/unattached";
    const children = await this.#qmp.execute("qom-list", { path: root });
    if (!Array.isArray(children)) throw new QtestError("protocol", "QMP: qom-list gave no list");
    const numbers: number[] = [];
    for (const child of children as readonly unknown[]) {
      const { name, type: childType } = (child ?? {}) as { name?: unknown; type?: unknown };
      const number = /^device\[(\d+)\]$/.exec(String(name));
      if (number !== null && childType === `child<${type}>`) numbers.push(Number(number[1]));
    }
    return numbers.sort((a, b) => a - b).map((number) => `${root}/device[${number}]`);
  }

  /** A QMP command; gives its "return". */
  management(command: string, parameters: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    return this.#qmp.execute(command, parameters);
  }

  /** Ends QEMU: by itself if it can, else by force. What is under way rejects with "closed". */
  shutdown(): Promise<void> {
    this.#closed ??= this.#shutdown();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  async #shutdown(): Promise<void> {
    // QEMU may be stopped or hung: it need not answer.
    this.#qmp.execute("quit").catch(() => {});
    let deadline: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => {
      deadline = setTimeout(resolve, quitTimeout);
    });
    await Promise.race([this.#process.ended, timeout]);
    clearTimeout(deadline);
    this.#fail(new QtestError("closed", "the machine was shut down"));
    await this.#process.kill();
  }

  #fail(error: QtestError): void {
    const reason = this.#closed === undefined ? error : new QtestError("closed", "the machine was shut down");
    this.#qtest.fail(reason);
    this.#qmp.fail(reason);
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** A channel and the socket that it speaks through. */
interface Link<Channel> {
  readonly channel: Channel;
  readonly socket: Socket;
}

function link<Channel extends { receive(bytes: Uint8Array): void }>(
  socket: Socket,
  make: (write: (text: string) => void) => Channel,
): Link<Channel> {
  const channel = make((text) => socket.write(text, "latin1"));
  socket.on("data", (bytes) => channel.receive(bytes as Buffer));
  // A reset is followed by the end of the process, which is what is reported.
  socket.on("error", () => {});
  return { channel, socket };
}

function commandLine(
  options: QtestMachineOptions,
  paths: { readonly qtest: string; readonly qmp: string; readonly firmware: string },
): string[] {
  const trace = (options.trace ?? []).flatMap((event) => ["-trace", event]);
  return [
    ["-machine", `${options.machine ?? "q35"},accel=tcg`],
    ["-bios", paths.firmware],
    ["-qtest", `unix:${paths.qtest}`],
    // Otherwise every command is printed.
    ["-qtest-log", "/dev/null"],
    ["-qmp", `unix:${paths.qmp}`],
    ["-display", "none", "-nodefaults", "-no-user-config"],
    ["-m", String(options.memory ?? 64)],
    trace,
    options.arguments ?? [],
  ].flat();
}

async function listen(path: string, servers: Server[]): Promise<{ readonly connected: Promise<Socket> }> {
  const server = createServer();
  servers.push(server);
  const connected = new Promise<Socket>((resolve) => {
    server.once("connection", resolve);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  return { connected };
}

function bigIntOf(text: string): bigint {
  if (!/^0x[0-9a-f]{1,16}$/i.test(text)) throw new QtestError("protocol", "readq gave no number");
  return BigInt(text);
}
