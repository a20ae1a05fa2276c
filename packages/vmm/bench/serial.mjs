// Bytes per second from a UART's sink through a serial port and its policy to an end, as a guest sends them: one by one. Beside
// the floor: the same bytes handed to the same kind of end by Node itself, in pieces of the same size.
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WebSocket, WebSocketServer } from "ws";
import { defaultSetting, openSerialEnd } from "../dist/serial/index.js";
import { SerialPort } from "../dist/serial-port.js";

const SIZE = 32 * 2 ** 20;
const PIECE = 16 * 1024;
const ROUNDS = 3;
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** `run` until `arrived()` says that all is there; in MB/s. */
async function rate(run) {
  const rates = [];
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    await run();
    rates.push(SIZE / (performance.now() - start) / 1000);
  }
  return median(rates);
}

/** Sends SIZE bytes through a port to `end`, and waits until `arrived()` bytes are there. */
async function throughPort(end, arrived) {
  const port = new SerialPort(
    () => 0,
    () => {},
  );
  port.attach(end, { ...defaultSetting({ kind: "null" }), policy: { kind: "hold" }, keep: 2 ** 20 });
  for (let sent = 0; sent < SIZE; ) {
    for (const piece = sent + PIECE; sent < piece; sent++) port.put(sent & 0xff);
    port.flush();
    for (let held = port.held; held !== undefined; held = port.held) await held;
    if (sent % (64 * PIECE) === 0) await turn();
  }
  while (arrived !== undefined && arrived() < SIZE) await turn();
  await port.detach();
}

const piece = new Uint8Array(PIECE);

async function file(folder) {
  const path = join(folder, "log");
  const ours = await rate(async () => throughPort(await openSerialEnd({ kind: "file", path })));
  const peer = await rate(async () => {
    const fd = openSync(path, "a");
    for (let sent = 0; sent < SIZE; sent += PIECE) writeSync(fd, piece);
    closeSync(fd);
  });
  return { name: "file", ours, peer, peerName: "writeSync" };
}

async function socket(folder) {
  const path = join(folder, "line");
  let count = 0;
  const listen = () => {
    const peer = connect(path);
    peer.on("data", (data) => {
      count += data.length;
    });
    return new Promise((resolve) => peer.once("connect", () => resolve(peer)));
  };
  const ours = await rate(async () => {
    count = 0;
    const end = await openSerialEnd({ kind: "socket", address: { family: "unix", path }, connect: false });
    await listen();
    while (!end.connected) await turn();
    await throughPort(end, () => count);
  });
  const peer = await rate(async () => {
    count = 0;
    const server = createServer();
    await new Promise((resolve) => server.listen(path, resolve));
    const accepted = new Promise((resolve) => server.once("connection", resolve));
    await listen();
    const out = await accepted;
    for (let sent = 0; sent < SIZE; sent += PIECE)
      if (!out.write(piece)) await new Promise((resolve) => out.once("drain", resolve));
    while (count < SIZE) await turn();
    out.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return { name: "unix socket", ours, peer, peerName: "net.Socket" };
}

async function webSocket() {
  let count = 0;
  const listen = (port) => {
    const peer = new WebSocket(`ws://127.0.0.1:${port}/`);
    peer.on("message", (data) => {
      count += data.length;
    });
    return new Promise((resolve) => peer.once("open", () => resolve(peer)));
  };
  const ours = await rate(async () => {
    count = 0;
    const end = await openSerialEnd({ kind: "websocket", host: "127.0.0.1", port: 0, origins: [] });
    await listen(end.port);
    while (!end.connected) await turn();
    await throughPort(end, () => count);
  });
  const peer = await rate(async () => {
    count = 0;
    const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
    await new Promise((resolve) => server.once("listening", resolve));
    const accepted = new Promise((resolve) => server.once("connection", resolve));
    const reader = await listen(server.address().port);
    const out = await accepted;
    for (let sent = 0; sent < SIZE; sent += PIECE)
      await new Promise((resolve) => out.send(piece, { binary: true }, resolve));
    while (count < SIZE) await turn();
    reader.terminate();
    out.terminate();
    await new Promise((resolve) => server.close(resolve));
  });
  return { name: "WebSocket", ours, peer, peerName: "ws" };
}

export async function bench() {
  const folder = mkdtempSync(join(tmpdir(), "entresol-bench-"));
  try {
    const rows = [await file(folder), await socket(folder), await webSocket()];
    return rows.map(({ name, ours, peer, peerName }) => ({
      case: `serial output to a ${name}`,
      ours,
      peer,
      peerName,
      unit: "MB/s",
      ratio: ours / peer,
    }));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
