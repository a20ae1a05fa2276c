import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { type SerialEnd, SerialEndError } from "./serial-end.ts";
import type { SocketAddress } from "./serial-setting.ts";

/** Time between two attempts to connect, ms: at first, and at most. */
const FIRST_RETRY = 100;
const LAST_RETRY = 5000;
/** Silence after which the system asks whether the other end of a TCP connection is still there, ms. */
const KEEP_ALIVE = 30_000;
/** Time that a peer has to read the last bytes, ms. */
const FAREWELL = 1000;

/** What `net` listens on or connects to. */
function place(address: SocketAddress): { path: string } | { host: string; port: number } {
  return address.family === "unix" ? { path: address.path } : { host: address.host, port: address.port };
}

function nameOf(address: SocketAddress): string {
  if (address.family === "unix") return address.path;
  return address.host.includes(":") ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** A stream socket with one peer at a time: a server's, or one of our own making that is made again when it breaks. */
abstract class SocketEnd implements SerialEnd {
  abstract readonly description: string;
  onChange: (() => void) | undefined;
  onInput: ((bytes: Uint8Array) => void) | undefined;
  onNews: ((text: string) => void) | undefined;
  #peer: Socket | undefined;
  #paused = false;
  #lost = 0;
  /** Bytes that the system has not taken for the peer yet. */
  #inFlight = 0;
  protected closed = false;

  get connected(): boolean {
    return this.#peer !== undefined;
  }

  get writable(): boolean {
    return this.#peer !== undefined && !this.#peer.writableNeedDrain;
  }

  get lost(): number {
    return this.#lost;
  }

  write(bytes: Uint8Array): void {
    const peer = this.#peer;
    if (peer === undefined) return;
    this.#inFlight += bytes.length;
    peer.write(bytes, (error) => {
      // What a peer left behind that is gone is counted already.
      if (this.#peer !== peer) return;
      this.#inFlight -= bytes.length;
      // A write that its socket's end cuts off is told without an error.
      if (error != null || peer.destroyed) this.#lost += bytes.length;
    });
  }

  pauseInput(paused: boolean): void {
    this.#paused = paused;
    if (paused) this.#peer?.pause();
    else this.#peer?.resume();
  }

  async close(): Promise<void> {
    this.closed = true;
    const peer = this.#peer;
    if (peer === undefined) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => peer.destroy(), FAREWELL);
      peer.once("close", () => {
        clearTimeout(timer);
        resolve();
      });
      // Unread input would keep the end of the stream, and so its close, from us.
      peer.removeAllListeners("data");
      peer.resume();
      peer.end();
    });
  }

  /** Takes `peer` in the place of who was there. `gone` is called when it has left, but not when it was replaced. */
  protected take(peer: Socket, gone: () => void): void {
    const before = this.#peer;
    this.#forget();
    this.#peer = peer;
    before?.destroy();
    peer.setNoDelay(true);
    peer.setKeepAlive(true, KEEP_ALIVE);
    peer.on("data", (bytes: Buffer) => {
      if (this.#peer === peer) this.onInput?.(bytes);
    });
    peer.on("drain", () => this.onChange?.());
    // What went wrong with a peer shows by its leaving.
    peer.on("error", () => {});
    peer.on("close", () => {
      if (this.#peer !== peer) return;
      this.#forget();
      this.onChange?.();
      gone();
    });
    if (this.#paused) peer.pause();
    this.onChange?.();
  }

  #forget(): void {
    this.#peer = undefined;
    this.#lost += this.#inFlight;
    this.#inFlight = 0;
  }
}

/** Listens, and serves who connected last. */
export class ListeningEnd extends SocketEnd {
  readonly description: string;
  /** The port that the system chose, for one that was given as 0; undefined for a unix socket. */
  readonly port: number | undefined;
  readonly #server: Server;

  /** Rejects with `SerialEndError`. A unix socket that nobody listens on any more is replaced; its mode is 0600. */
  static async listen(address: SocketAddress): Promise<ListeningEnd> {
    if (address.family === "unix") await removeStale(address.path);
    const server = createServer();
    try {
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen({ ...place(address), backlog: 4 }, resolve);
        // Bound by now: before anybody else has had a turn.
        if (address.family === "unix") allowOwnerOnly(address.path);
      });
    } catch (error) {
      server.close();
      const { code } = error as NodeJS.ErrnoException;
      throw new SerialEndError(
        code === "EADDRINUSE" ? "address-in-use" : "cannot-open",
        `cannot listen on ${nameOf(address)}: ${code ?? String(error)}`,
        { cause: error },
      );
    }
    return new ListeningEnd(address, server);
  }

  private constructor(address: SocketAddress, server: Server) {
    super();
    this.#server = server;
    const bound = server.address();
    this.port = bound !== null && typeof bound === "object" ? bound.port : undefined;
    this.description = `socket ${nameOf(
      address.family === "unix" ? address : { ...address, port: this.port ?? address.port },
    )}`;
    server.on("error", () => {});
    server.on("connection", (peer) => {
      this.onNews?.(`${this.description}: connected`);
      this.take(peer, () => this.onNews?.(`${this.description}: disconnected`));
    });
  }

  override async close(): Promise<void> {
    this.#server.close();
    await super.close();
  }
}

/** The mode of a path that is not there yet, or not any more, is of no interest: listening itself tells what is wrong. */
function allowOwnerOnly(path: string): void {
  try {
    chmodSync(path, 0o600);
  } catch {
    // As above.
  }
}

/** Removes a socket in the file system that nobody listens on: its server ended without a chance to. */
async function removeStale(path: string): Promise<void> {
  const about = lstatSync(path, { throwIfNoEntry: false });
  if (about?.isSocket() !== true) return;
  const code = await new Promise<string | undefined>((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(undefined);
    });
    probe.once("error", (error: NodeJS.ErrnoException) => resolve(error.code));
  });
  if (code === "ECONNREFUSED") unlinkSync(path);
}

/** Connects, and connects again when the connection ends. */
export class ConnectingEnd extends SocketEnd {
  readonly description: string;
  readonly #address: SocketAddress;
  #retry = FIRST_RETRY;
  #timer: NodeJS.Timeout | undefined;
  #attempt: Socket | undefined;

  constructor(address: SocketAddress) {
    super();
    this.#address = address;
    this.description = `socket ${nameOf(address)}`;
    this.#connect();
  }

  override async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#attempt?.destroy();
    await super.close();
  }

  #connect(): void {
    const socket = connect(place(this.#address));
    this.#attempt = socket;
    const later = (): void => {
      if (this.closed) return;
      this.#timer = setTimeout(() => this.#connect(), this.#retry);
      this.#retry = Math.min(2 * this.#retry, LAST_RETRY);
    };
    socket.once("error", later);
    socket.once("connect", () => {
      this.#attempt = undefined;
      socket.off("error", later);
      this.#retry = FIRST_RETRY;
      this.onNews?.(`${this.description}: connected`);
      this.take(socket, () => {
        this.onNews?.(`${this.description}: disconnected`);
        later();
      });
    });
  }
}
