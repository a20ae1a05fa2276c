import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { FileEnd } from "./file-end.ts";
import { openSerialEnd } from "./index.ts";
import { PtyEnd } from "./pty-end.ts";
import type { SerialEnd } from "./serial-end.ts";
import { ConnectingEnd, ListeningEnd } from "./socket-end.ts";
import { WebSocketEnd } from "./websocket-end.ts";

let folder: string;
const open: { close(): unknown }[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "entresol-serial-"));
});

afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
  rmSync(folder, { recursive: true, force: true });
});

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** `end` as a user of it sees it: what came in, what was said, and a promise for the next time that anything moved. */
function watch<End extends SerialEnd>(end: End) {
  open.push(end);
  const seen = { input: "", news: [] as string[] };
  let moved = (): void => {};
  end.onInput = (data) => {
    seen.input += Buffer.from(data).toString("latin1");
    moved();
  };
  end.onNews = (text) => {
    seen.news.push(text);
    moved();
  };
  end.onChange = () => moved();
  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition()) {
      await new Promise<void>((resolve) => {
        moved = resolve;
      });
    }
  };
  return { end, seen, until };
}

/** What a peer has received, and a promise for the moment at which it is `text`. */
function collect(source: NodeJS.ReadableStream | WebSocket) {
  let text = "";
  let check = (): void => {};
  const event = source instanceof WebSocket ? "message" : "data";
  (source as NodeJS.ReadableStream).on(event, (data: Buffer) => {
    text += data.toString("latin1");
    check();
  });
  return {
    get text() {
      return text;
    },
    is: (expected: string) =>
      new Promise<void>((resolve) => {
        check = () => {
          if (text === expected) resolve();
        };
        check();
      }),
  };
}

function dial(where: { path: string } | { host: string; port: number }): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(where);
    open.push({ close: () => socket.destroy() });
    socket.once("connect", () => resolve(socket));
    socket.once("error", reject);
  });
}

const gone = (socket: Socket): Promise<void> =>
  new Promise((resolve) => socket.once("close", () => resolve()));

describe("a file", () => {
  it("gets output behind what it holds, all of it when the end is closed", async () => {
    const path = join(folder, "console.log");
    writeFileSync(path, "before\n");
    const { end, until } = watch(new FileEnd(path));
    end.write(bytes("first\n"));
    expect(end.writable).toBe(false);
    await until(() => end.writable);
    end.write(bytes("second\n"));
    await end.close();
    expect(readFileSync(path, "utf8")).toBe("before\nfirst\nsecond\n");
    expect(end.lost).toBe(0);
  });

  it("is refused with its reason when it cannot be appended to", async () => {
    for (const path of [join(folder, "no", "file"), folder]) {
      await expect(openSerialEnd({ kind: "file", path })).rejects.toMatchObject({
        code: "cannot-open",
        message: expect.stringContaining(path),
      });
    }
  });

  it("that is full costs the bytes, which are counted and told once, and nothing else", async () => {
    const { end, seen, until } = watch(new FileEnd("/dev/full"));
    for (let n = 0; n < 3; n++) {
      end.write(bytes("lost"));
      await until(() => end.writable);
    }
    expect(end.lost).toBe(12);
    expect(seen.news).toEqual(["output to file /dev/full is lost: ENOSPC"]);
  });
});

describe("a listening socket", () => {
  it("serves a peer in both directions, on TCP and on a path that only its owner may use", async () => {
    const path = join(folder, "line");
    const tcp = watch(await ListeningEnd.listen({ family: "tcp", host: "127.0.0.1", port: 0 }));
    const unix = watch(await ListeningEnd.listen({ family: "unix", path }));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    for (const [{ end, seen, until }, where] of [
      [tcp, { host: "127.0.0.1", port: tcp.end.port! }],
      [unix, { path }],
    ] as const) {
      expect([end.connected, end.writable]).toEqual([false, false]);
      const peer = await dial(where);
      await until(() => end.connected);
      const received = collect(peer);
      end.write(bytes("out"));
      peer.write("in");
      await received.is("out");
      await until(() => seen.input === "in");
      peer.destroy();
      await until(() => !end.connected);
      expect(seen.news).toEqual([`${end.description}: connected`, `${end.description}: disconnected`]);
    }
  });

  it("gives the line to who connects last, and goes on with it", async () => {
    const { end, seen, until } = watch(
      await ListeningEnd.listen({ family: "unix", path: join(folder, "line") }),
    );
    const first = await dial({ path: join(folder, "line") });
    await until(() => end.connected);
    const firstGone = gone(first);
    const second = await dial({ path: join(folder, "line") });
    await firstGone;
    second.write("second");
    await until(() => seen.input === "second");
    const received = collect(second);
    end.write(bytes("hello"));
    await received.is("hello");
  });

  it("is not writable while its peer does not read, and is again when it does", async () => {
    const { end, until } = watch(await ListeningEnd.listen({ family: "tcp", host: "127.0.0.1", port: 0 }));
    const peer = await dial({ host: "127.0.0.1", port: end.port! });
    peer.pause();
    await until(() => end.connected);
    let sent = 0;
    while (end.writable) {
      end.write(new Uint8Array(256 * 1024));
      sent += 256 * 1024;
      await new Promise((resolve) => setImmediate(resolve));
    }
    let received = 0;
    peer.on("data", (data) => {
      received += data.length;
    });
    peer.resume();
    await until(() => end.writable);
    while (received < sent) await new Promise((resolve) => setImmediate(resolve));
    expect(received).toBe(sent);
    expect(end.lost).toBe(0);
  });

  it("keeps what a peer sends in the system while input is paused", async () => {
    const { end, seen, until } = watch(
      await ListeningEnd.listen({ family: "unix", path: join(folder, "line") }),
    );
    const peer = await dial({ path: join(folder, "line") });
    await until(() => end.connected);
    end.pauseInput(true);
    peer.write("later");
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(seen.input).toBe("");
    end.pauseInput(false);
    await until(() => seen.input === "later");
  });

  it("takes the place of a socket in the file system that nobody serves, and refuses one that is served", async () => {
    const path = join(folder, "line");
    const address = { family: "unix", path } as const;
    const { end } = watch(await ListeningEnd.listen(address));
    await expect(ListeningEnd.listen(address)).rejects.toMatchObject({ code: "address-in-use" });
    await end.close();
    // A server that was killed leaves its name behind.
    const left = await leftBehind(path);
    expect(left).toBe(true);
    watch(await ListeningEnd.listen(address));
    await dial({ path });
  });

  it("refuses an address that is taken, by its code", async () => {
    const { end } = watch(await ListeningEnd.listen({ family: "tcp", host: "127.0.0.1", port: 0 }));
    await expect(
      ListeningEnd.listen({ family: "tcp", host: "127.0.0.1", port: end.port! }),
    ).rejects.toMatchObject({ code: "address-in-use" });
    await expect(
      ListeningEnd.listen({ family: "unix", path: join(folder, "no", "line") }),
    ).rejects.toMatchObject({ code: "cannot-open" });
  });

  it("ends in bounded time with a peer that does not read its last bytes", async () => {
    const { end, until } = watch(await ListeningEnd.listen({ family: "unix", path: join(folder, "line") }));
    const peer = await dial({ path: join(folder, "line") });
    peer.pause();
    await until(() => end.connected);
    while (end.writable) end.write(new Uint8Array(1024 * 1024));
    await end.close();
    expect(end.connected).toBe(false);
    expect(end.lost).toBeGreaterThan(0);
  });
});

/** Leaves a socket in the file system that nobody listens on: renamed away, it survives its server. */
async function leftBehind(path: string): Promise<boolean> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(`${path}.alive`, resolve));
  renameSync(`${path}.alive`, path);
  await new Promise((resolve) => server.close(resolve));
  return existsSync(path);
}

describe("input that comes before anybody wants it", () => {
  it.each(["socket", "websocket"] as const)("is not lost: %s", async (kind) => {
    const path = join(folder, "early");
    const host = "127.0.0.1";
    const { end, until } = watch(
      await openSerialEnd(
        kind === "socket"
          ? { kind, address: { family: "unix", path }, connect: false }
          : { kind, host, port: 0, origins: [] },
      ),
    );
    end.onInput = undefined;
    if (end instanceof WebSocketEnd) {
      const peer = new WebSocket(`ws://${host}:${end.port}/`);
      open.push({ close: () => peer.terminate() });
      peer.once("open", () => peer.send("early"));
    } else (await dial({ path })).write("early");
    await until(() => end.connected);
    await new Promise((resolve) => setTimeout(resolve, 50));
    let input = "";
    const whole = new Promise<void>((resolve) => {
      end.onInput = (data) => {
        input += Buffer.from(data).toString();
        if (input === "early") resolve();
      };
    });
    end.pauseInput(false);
    await whole;
  });
});

describe("a connecting socket", () => {
  const serve = (path: string): Promise<{ server: Server; next: () => Promise<Socket> }> =>
    new Promise((resolve) => {
      const waiting: ((socket: Socket) => void)[] = [];
      const come: Socket[] = [];
      const server = createServer((socket) => {
        open.push({ close: () => socket.destroy() });
        const taker = waiting.shift();
        if (taker === undefined) come.push(socket);
        else taker(socket);
      });
      open.push({ close: () => server.close() });
      const next = (): Promise<Socket> =>
        new Promise((take) => {
          const socket = come.shift();
          if (socket === undefined) waiting.push(take);
          else take(socket);
        });
      server.listen(path, () => resolve({ server, next }));
    });

  it("waits for its server, and comes back when the connection breaks", async () => {
    const path = join(folder, "server");
    const { end, seen, until } = watch(new ConnectingEnd({ family: "unix", path }));
    const { next } = await serve(path);
    const first = await next();
    await until(() => end.connected);
    const received = collect(first);
    end.write(bytes("one"));
    await received.is("one");
    first.destroy();
    const second = await next();
    await until(() => seen.news.length === 3);
    second.write("two");
    await until(() => seen.input === "two");
    expect(seen.news.map((text) => text.split(": ")[1])).toEqual(["connected", "disconnected", "connected"]);
  });

  it("stops trying when it is closed", async () => {
    const path = join(folder, "server");
    const end = new ConnectingEnd({ family: "unix", path });
    await new Promise((resolve) => setTimeout(resolve, 10));
    await end.close();
    let connections = 0;
    const server = createServer(() => connections++);
    open.push({ close: () => server.close() });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    await new Promise((resolve) => setTimeout(resolve, 250));
    expect(connections).toBe(0);
  });
});

describe("a WebSocket", () => {
  const upgradeRequest =
    "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

  const listen = async (origins: readonly string[] = []) =>
    watch(await WebSocketEnd.listen({ host: "127.0.0.1", port: 0, origins }));

  function dialWeb(port: number, origin?: string): Promise<WebSocket> {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}/`, origin === undefined ? {} : { origin });
      open.push({ close: () => socket.terminate() });
      socket.once("open", () => resolve(socket));
      socket.once("error", reject);
    });
  }

  it("carries output as binary messages, and input as binary or text", async () => {
    const { end, seen, until } = await listen();
    const peer = await dialWeb(end.port);
    await until(() => end.connected);
    const received = collect(peer);
    end.write(Uint8Array.of(0xff, 0x00, 0x41));
    await received.is("\xff\0A");
    peer.send(Uint8Array.of(0x80, 0x0a));
    peer.send("ü");
    await until(() => seen.input.length === 4);
    expect(Buffer.from(seen.input, "latin1")).toEqual(Buffer.from([0x80, 0x0a, 0xc3, 0xbc]));
  });

  it("lets a browser's page in only from an origin that was named", async () => {
    const { end, until } = await listen(["http://localhost:8080"]);
    await expect(dialWeb(end.port, "http://evil.example")).rejects.toThrow("401");
    await expect(dialWeb(end.port, "null")).rejects.toThrow("401");
    expect(end.connected).toBe(false);
    await dialWeb(end.port, "http://localhost:8080");
    await until(() => end.connected);
  });

  it("gives the line to who connects last", async () => {
    const { end, seen, until } = await listen();
    const first = await dialWeb(end.port);
    const closed = new Promise<number>((resolve) => first.once("close", resolve));
    const second = await dialWeb(end.port);
    expect(await closed).toBe(1008);
    second.send("mine");
    await until(() => seen.input === "mine");
  });

  it("drops a peer whose message is too large, and serves the next", async () => {
    const { end, seen, until } = await listen();
    const peer = await dialWeb(end.port);
    await until(() => end.connected);
    const closed = new Promise<number>((resolve) => peer.once("close", resolve));
    peer.send(new Uint8Array(1024 * 1024 + 1));
    expect(await closed).toBe(1009);
    await until(() => !end.connected);
    (await dialWeb(end.port)).send("next");
    await until(() => seen.input === "next");
  });

  it("is not writable while its peer does not read, and closes in bounded time all the same", async () => {
    const { end, until } = await listen();
    const peer = await dialWeb(end.port);
    peer.pause();
    await until(() => end.connected);
    while (end.writable) {
      end.write(new Uint8Array(256 * 1024));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await end.close();
    expect(end.connected).toBe(false);
    expect(end.lost).toBeGreaterThan(0);
  });

  it("closes although others come while its peer takes its leave", async () => {
    const { end, until } = await listen();
    const peer = await dialWeb(end.port);
    peer.pause();
    await until(() => end.connected);
    const idle = await dial({ host: "127.0.0.1", port: end.port });
    idle.on("error", () => {});
    idle.resume();
    const parted = gone(idle);
    const closed = end.close();
    const late = dialWeb(end.port);
    idle.write(upgradeRequest);
    await expect(late).rejects.toThrow();
    await parted;
    await closed;
  });

  it("survives whatever is sent to its port", async () => {
    const { end, until } = await listen();
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 1, maxLength: 200 }),
        fc.boolean(),
        async (data, upgrade) => {
          const socket = await dial({ host: "127.0.0.1", port: end.port });
          if (upgrade) {
            socket.write(upgradeRequest);
          }
          socket.on("error", () => {});
          socket.end(data);
          socket.resume();
          await gone(socket);
        },
      ),
      { numRuns: 40 },
    );
    const peer = await dialWeb(end.port);
    await until(() => end.connected);
    const received = collect(peer);
    end.write(bytes("still here"));
    await received.is("still here");
  });
});

describe("a pseudo terminal", () => {
  it("carries every byte unchanged and unechoed, whoever opens and closes it", async () => {
    const { end, seen, until } = watch(await PtyEnd.open());
    const all = Uint8Array.from({ length: 256 }, (_, n) => n);
    for (let round = 1; round <= 2; round++) {
      const terminal = openSync(end.path, "r+");
      writeSync(terminal, all);
      await until(() => seen.input.length === 256 * round);
      end.write(all);
      await until(() => end.writable);
      const received = Buffer.alloc(256);
      for (let at = 0; at < received.length; ) at += readSync(terminal, received, { offset: at });
      expect(received).toEqual(Buffer.from(all));
      closeSync(terminal);
    }
    expect(seen.input).toBe(Buffer.concat([all, all]).toString("latin1"));
  });

  it("that nobody reads holds nobody up: it is not writable once it is full, and closes all the same", async () => {
    const { end } = watch(await PtyEnd.open());
    let sent = 0;
    for (let tries = 0; tries < 50; tries++) {
      if (end.writable) {
        end.write(new Uint8Array(64 * 1024));
        sent += 64 * 1024;
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    expect(end.writable).toBe(false);
    await end.close();
    expect(end.lost).toBeGreaterThan(0);
    expect(end.lost).toBeLessThan(sent);
  });

  it("gives its reader time for the last words before it closes", async () => {
    const { end, until } = watch(await PtyEnd.open());
    const terminal = openSync(end.path, "r+");
    end.write(bytes("last words"));
    await until(() => end.writable);
    const closed = end.close();
    await new Promise((resolve) => setTimeout(resolve, 50));
    const received = Buffer.alloc(10);
    expect(readSync(terminal, received)).toBe(10);
    expect(received.toString()).toBe("last words");
    await closed;
    closeSync(terminal);
  });
});
