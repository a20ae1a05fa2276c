import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/* A service like AMD's or Intel's, on this machine, that does whatever a test wants it to. */

/** What the service does with one request. */
export type Behaviour =
  | {
      readonly does: "answer";
      readonly bytes: Uint8Array;
      readonly headers?: Readonly<Record<string, string>>;
    }
  | { readonly does: "refuse"; readonly status: number; readonly headers?: Readonly<Record<string, string>> }
  /** Never answers. */
  | { readonly does: "hang" }
  /** Answers and ends in the middle of the body. */
  | { readonly does: "break off"; readonly bytes: Uint8Array }
  /** Sends without end. */
  | { readonly does: "flood" }
  /** Closes the connection at once. */
  | { readonly does: "hang up" };

export class CollateralServer {
  /** Paths that were asked for, in order, and the headers of the last request. */
  readonly asked: string[] = [];
  lastHeaders: IncomingMessage["headers"] = {};
  /** Requests at the same time, at most. */
  most = 0;
  #running = 0;
  readonly #server: Server;
  /** By path with query: what is done with the first request, the second, …; the last stays. */
  readonly #behaviours = new Map<string, Behaviour[]>();
  #base = "";

  private constructor() {
    this.#server = createServer((request, response) => {
      this.#running++;
      this.most = Math.max(this.most, this.#running);
      response.once("close", () => this.#running--);
      this.asked.push(request.url ?? "");
      this.lastHeaders = request.headers;
      const all = this.#behaviours.get(request.url ?? "") ?? [];
      const behaviour = (all.length > 1 ? all.shift() : all[0]) ?? { does: "refuse", status: 404 };
      behave(behaviour, request, response);
    });
  }

  static async start(): Promise<CollateralServer> {
    const server = new CollateralServer();
    await new Promise<void>((resolve) => {
      server.#server.listen(0, "127.0.0.1", resolve);
    });
    server.#base = `http://127.0.0.1:${(server.#server.address() as AddressInfo).port}`;
    return server;
  }

  get base(): string {
    return this.#base;
  }
  on(path: string, ...behaviours: readonly Behaviour[]): void {
    this.#behaviours.set(path, [...behaviours]);
  }
  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => {
      this.#server.close(resolve);
    });
  }
}

function behave(behaviour: Behaviour, { socket }: IncomingMessage, response: ServerResponse): void {
  switch (behaviour.does) {
    case "answer":
      response.writeHead(200, behaviour.headers).end(behaviour.bytes);
      return;
    case "refuse":
      response.writeHead(behaviour.status, behaviour.headers).end("no");
      return;
    case "hang":
      return;
    case "break off":
      response.writeHead(200, { "content-length": behaviour.bytes.length + 1 });
      response.write(behaviour.bytes, () => socket.destroy());
      return;
    case "flood": {
      response.writeHead(200);
      const pour = (): void => {
        while (!response.destroyed && response.write(new Uint8Array(65536)));
      };
      response.on("drain", pour);
      pour();
      return;
    }
    case "hang up":
      socket.destroy();
      return;
    default:
      behaviour satisfies never;
  }
}
