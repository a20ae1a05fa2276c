import { createServer, type IncomingMessage, type Server } from "node:http";
import type { RawData, WebSocket } from "ws";
import { type SerialEnd, SerialEndError } from "./serial-end.ts";

/** Bytes that one message may hold; a larger one ends the connection. */
const LARGEST_MESSAGE = 1024 * 1024;
/** Output that may be on its way inside the connection, in bytes. */
const IN_FLIGHT = 1024 * 1024;
/** Connections at once, those included that say nothing. */
const LARGEST_CROWD = 16;
/** Time between two pings, ms; who has not answered one by the next is gone. */
const PING = 30_000;
/** Time that a peer has to read the last bytes, ms. */
const FAREWELL = 1000;
/** Close codes of RFC 6455, 7.4.1: going away, policy violation. */
const GOING_AWAY = 1001;
const POLICY_VIOLATION = 1008;

export interface WebSocketPlace {
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  /** What a browser may send as its `Origin`. */
  readonly origins: readonly string[];
}

/**
 * A WebSocket server with one peer at a time. Output leaves as binary messages, input may come as binary or as text (UTF-8).
 *
 * Any page that a browser on this machine shows can open a WebSocket to a port of this machine, and would have the guest's console:
 * a browser always tells the page's origin, and only those are let in that were named. Programs send none.
 */
export class WebSocketEnd implements SerialEnd {
  readonly description: string;
  /** The port that is listened on. */
  readonly port: number;
  onChange: (() => void) | undefined;
  onInput: ((bytes: Uint8Array) => void) | undefined;
  onNews: ((text: string) => void) | undefined;
  readonly #server: Server;
  readonly #ping: NodeJS.Timeout;
  #peer: WebSocket | undefined;
  #answered = true;
  #paused = false;
  #closing = false;
  #lost = 0;

  /** Rejects with `SerialEndError`. */
  static async listen({ host, port, origins }: WebSocketPlace): Promise<WebSocketEnd> {
    const { WebSocketServer } = await import("ws");
    const server = createServer((_, response) => response.writeHead(426).end());
    server.maxConnections = LARGEST_CROWD;
    const sockets = new WebSocketServer({
      server,
      maxPayload: LARGEST_MESSAGE,
      // Compression costs more than a console's bytes are worth, and its memory is the peer's to choose.
      perMessageDeflate: false,
      clientTracking: false,
      verifyClient: ({ req }: { req: IncomingMessage }) => {
        const { origin } = req.headers;
        return origin === undefined || origins.includes(origin);
      },
    });
    try {
      await new Promise<void>((resolve, reject) => {
        sockets.once("error", reject);
        server.listen({ host, port }, resolve);
      });
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      throw new SerialEndError(
        code === "EADDRINUSE" ? "address-in-use" : "cannot-open",
        `cannot listen on ${host}:${port}: ${code ?? String(error)}`,
        { cause: error },
      );
    }
    sockets.on("error", () => {});
    const end = new WebSocketEnd(host, server);
    sockets.on("connection", (peer) => end.#take(peer));
    return end;
  }

  private constructor(host: string, server: Server) {
    const bound = server.address();
    this.port = typeof bound === "object" && bound !== null ? bound.port : 0;
    this.description = `WebSocket ws://${host.includes(":") ? `[${host}]` : host}:${this.port}`;
    this.#server = server;
    this.#ping = setInterval(() => this.#checkPeer(), PING);
    this.#ping.unref();
  }

  get connected(): boolean {
    return this.#peer !== undefined;
  }

  get writable(): boolean {
    return this.#peer !== undefined && this.#peer.bufferedAmount < IN_FLIGHT;
  }

  get lost(): number {
    return this.#lost;
  }

  write(bytes: Uint8Array): void {
    this.#peer?.send(bytes, { binary: true }, (error) => {
      if (error != null) this.#lost += bytes.length;
      this.onChange?.();
    });
  }

  pauseInput(paused: boolean): void {
    this.#paused = paused;
    if (paused) this.#peer?.pause();
    else this.#peer?.resume();
  }

  async close(): Promise<void> {
    clearInterval(this.#ping);
    this.#closing = true;
    // First of all: who came while the peer takes its leave would hold the server up for ever.
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const peer = this.#peer;
    if (peer !== undefined) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(() => peer.terminate(), FAREWELL);
        peer.once("close", () => {
          clearTimeout(timer);
          resolve();
        });
        peer.resume();
        peer.close(GOING_AWAY);
      });
    }
    // Those that never became a WebSocket.
    this.#server.closeAllConnections();
    await closed;
  }

  #take(peer: WebSocket): void {
    if (this.#closing) {
      // It was connected before and asks only now.
      peer.terminate();
      return;
    }
    const before = this.#peer;
    this.#peer = peer;
    this.#answered = true;
    if (before !== undefined) {
      before.resume();
      before.close(POLICY_VIOLATION, "another connection took the line");
      // It may never answer the close.
      setTimeout(() => before.terminate(), FAREWELL).unref();
    }
    peer.on("message", (data: RawData) => {
      if (this.#peer === peer) this.onInput?.(bytesOf(data));
    });
    peer.on("pong", () => {
      this.#answered = true;
    });
    // What went wrong with a peer shows by its leaving.
    peer.on("error", () => {});
    peer.on("close", () => {
      if (this.#peer !== peer) return;
      this.#peer = undefined;
      this.onNews?.(`${this.description}: disconnected`);
      this.onChange?.();
    });
    if (this.#paused) peer.pause();
    this.onNews?.(`${this.description}: connected`);
    this.onChange?.();
  }

  #checkPeer(): void {
    // A peer that we ourselves do not read from cannot be heard answering.
    if (this.#peer === undefined || this.#paused) return;
    if (!this.#answered) {
      this.#peer.terminate();
      return;
    }
    this.#answered = false;
    this.#peer.ping();
  }
}

function bytesOf(data: RawData): Uint8Array {
  if (Array.isArray(data)) return Buffer.concat(data);
  return Buffer.isBuffer(data) ? data : new Uint8Array(data);
}
