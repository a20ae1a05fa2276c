import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, type NetConnectOpts, type Socket } from "node:net";

/** In /proc/net/unix: somebody listens (__SO_ACCEPTCON). */
const LISTENS = "00010000";

/** Resolves when somebody listens on a unix socket: its name is there a moment before. Nobody is connected to. */
export async function listening(path: string): Promise<void> {
  for (;;) {
    const sockets = readFileSync("/proc/net/unix", "utf8").split("\n");
    if (sockets.some((line) => line.endsWith(` ${path}`) && line.includes(` ${LISTENS} `))) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A client for tests: sends bytes, reads as many as it asks for. */
export class LoopbackClient {
  readonly socket: Socket;
  #received = Buffer.alloc(0);
  #closed = false;
  #wake: () => void = () => {};

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (bytes: Buffer) => {
      this.#received = Buffer.concat([this.#received, bytes]);
      this.#wake();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#closed = true;
      this.#wake();
    });
  }

  static async connect(place: NetConnectOpts): Promise<LoopbackClient> {
    const socket = connect(place);
    await once(socket, "connect");
    return new LoopbackClient(socket);
  }

  static over(socket: Socket): LoopbackClient {
    return new LoopbackClient(socket);
  }

  send(hex: string | Uint8Array): this {
    this.socket.write(typeof hex === "string" ? Buffer.from(hex, "hex") : hex);
    return this;
  }

  /** As hexadecimal digits; fewer bytes when the connection ends before. */
  async read(length: number): Promise<string> {
    while (this.#received.length < length && !this.#closed)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    const bytes = this.#received.subarray(0, length);
    this.#received = this.#received.subarray(length);
    return bytes.toString("hex");
  }

  /** A whole TPM response. */
  async response(): Promise<string> {
    const header = await this.read(10);
    return header + (await this.read(Number.parseInt(header.slice(4, 12), 16) - 10));
  }

  close(): void {
    this.socket.destroy();
  }
}

/** TPM commands that tests send, as hexadecimal digits. */
export const raw = {
  startupClear: "80010000000c000001440000",
  startupState: "80010000000c000001440001",
  shutdownState: "80010000000c000001450001",
  getRandom: "80010000000c0000017b0010",
  /** PCR 16, SHA-256, 32 bytes of 0x61. */
  extendPcr16: `80020000004100000182000000100000000940000009000000000000000001000b${"61".repeat(32)}`,
  readPcr16: "8001000000140000017e00000001000b03000001",
  readClock: "80010000000a00000181",
} as const;

export const success = "80010000000a00000000";
