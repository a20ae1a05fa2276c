import { constants, createWriteStream, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ReadStream } from "node:tty";
import { Assembler, al, cl, dx, ecx } from "@entresol/testguest";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { Vm, type VmConfig } from "../index.ts";
import { FileEnd } from "./file-end.ts";
import { PtyEnd } from "./pty-end.ts";
import { NullEnd, type SerialEnd } from "./serial-end.ts";
import { defaultSetting, type SerialLineSetting } from "./serial-setting.ts";
import { ListeningEnd } from "./socket-end.ts";
import { WebSocketEnd } from "./websocket-end.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "entresol-line-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const places = [0x3f8, 0x2f8, 0x3e8, 0x2e8] as const;

/** A guest of a few instructions with all four ports. It ends by halting for ever. */
function program(write: (asm: Assembler) => void): VmConfig {
  const asm = new Assembler({ origin: 0x100000 });
  write(asm);
  asm.op.cli();
  asm.op.hlt();
  return {
    memory: 2 ** 24,
    serialPorts: 4,
    boot: { kind: "flat", image: asm.assemble().bytes, loadAddress: asm.origin, entry: asm.origin },
  };
}

/** Sends `count` bytes, those of a count down to 1, each when THRE is set. */
function flood(port: number, count: number): VmConfig {
  return program((asm) => {
    const { op } = asm;
    op.mov(ecx, count);
    asm.label("wait");
    op.mov(dx, port + 5);
    op.in(al, dx);
    op.test(al, 0x20);
    op.jz("wait");
    op.mov(dx, port);
    op.mov(al, cl);
    op.out(dx, al);
    op.dec(ecx);
    op.jnz("wait");
  });
}

const byteOf = (count: number, at: number): number => (count - at) & 0xff;
const flooded = (count: number): Buffer =>
  Buffer.from(Uint8Array.from({ length: count }, (_, n) => byteOf(count, n)));

/** Sends back what it gets, until a "q". It never halts meanwhile. */
function echo(port: number): VmConfig {
  return program((asm) => {
    const { op } = asm;
    for (const [offset, value] of [
      [2, 0x01],
      [4, 0x03],
    ] as const) {
      op.mov(dx, port + offset);
      op.mov(al, value);
      op.out(dx, al);
    }
    asm.label("wait");
    op.mov(dx, port + 5);
    op.in(al, dx);
    op.test(al, 0x01);
    op.jz("wait");
    op.mov(dx, port);
    op.in(al, dx);
    op.out(dx, al);
    op.cmp(al, 0x71);
    op.jnz("wait");
  });
}

function dial(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once("connect", () => resolve(socket));
    socket.once("error", reject);
  });
}

/** Until `condition` holds, looked at whenever the host is idle. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** Runs `flood` on COM3 with `end` at it. `farewell` is called before the two are parted. */
async function floodInto(
  end: SerialEnd,
  count: number,
  line: Partial<SerialLineSetting>,
  farewell: () => void = () => {},
) {
  await using vm = await Vm.create(flood(places[2], count));
  const port = vm.serial[2]!;
  port.attach(end, { ...defaultSetting({ kind: "null" }), ...line });
  const { kind } = await vm.run();
  const uart = vm.inspect()["com3"] as Record<string, unknown>;
  const seen = { stop: kind, now: vm.now, ram: vm.ramDigest(), lostInUart: uart["lost"] };
  farewell();
  return { ...seen, lost: await port.detach() };
}

/** A socket at which somebody is who reads nothing. */
async function deadPeer() {
  const path = join(folder, "line");
  const end = await ListeningEnd.listen({ family: "unix", path });
  const peer = await dial(path);
  peer.pause();
  await until(() => end.connected);
  return { end, leave: () => void peer.destroy() };
}

describe("a guest that floods a port", () => {
  const count = 300_000;

  it("fills a file, byte for byte", async () => {
    const path = join(folder, "log");
    const { stop, lost } = await floodInto(new FileEnd(path), count, { policy: { kind: "hold" } });
    expect([stop, lost]).toEqual(["halted", 0]);
    expect(readFileSync(path).equals(flooded(count))).toBe(true);
  });

  it("does not notice a peer that reads nothing: the newest bytes wait for it, and the others are counted", async () => {
    const { end, leave } = await deadPeer();
    const unread = await floodInto(end, count, { keep: 1000 }, leave);
    const thrown = await floodInto(new NullEnd(), count, {});
    expect([unread.stop, unread.lostInUart]).toEqual(["halted", 0]);
    expect(unread.lost).toBeGreaterThan(1000);
    expect([unread.now, unread.ram]).toEqual([thrown.now, thrown.ram]);
  });

  it("rests under `hold` while its peer is slow, and loses nothing", async () => {
    const path = join(folder, "line");
    const end = await ListeningEnd.listen({ family: "unix", path });
    const peer = await dial(path);
    const got: Buffer[] = [];
    peer.on("data", (data) => {
      got.push(data);
      // A reader that takes its time over each piece.
      peer.pause();
      setTimeout(() => peer.resume(), 1);
    });
    await until(() => end.connected);
    const { stop, lost } = await floodInto(end, count, { policy: { kind: "hold" }, keep: 20_000 });
    await until(() => Buffer.concat(got).length === count);
    expect([stop, lost]).toEqual(["halted", 0]);
    expect(Buffer.concat(got).equals(flooded(count))).toBe(true);
  });

  it("waits for THRE under `stall` while its peer is slow, and loses nothing", async () => {
    const path = join(folder, "line");
    const end = await ListeningEnd.listen({ family: "unix", path });
    const peer = await dial(path);
    const got: Buffer[] = [];
    peer.on("data", (data) => got.push(data));
    await until(() => end.connected);
    const limit = 1e15;
    const { stop, lost, lostInUart } = await floodInto(end, count, {
      policy: { kind: "stall", limit },
      keep: 20_000,
    });
    await until(() => Buffer.concat(got).length === count);
    expect([stop, lost, lostInUart]).toEqual(["halted", 0, 0]);
    expect(Buffer.concat(got).equals(flooded(count))).toBe(true);
  });

  it("is not stopped under `stall` by a dead peer: its limit later it goes on, and what is lost is counted", async () => {
    const { end, leave } = await deadPeer();
    const policy = { kind: "stall", limit: 1_000_000 } as const;
    const { stop, lostInUart } = await floodInto(end, count, { policy, keep: 1000 }, leave);
    expect(stop).toBe("halted");
    expect(lostInUart).toBeGreaterThan(0);
  });

  it("runs at the rate of its divisor when the line is paced", async () => {
    const path = join(folder, "log");
    const { now } = await floodInto(new FileEnd(path), 20, { pacing: true });
    // 9600 baud after power-on with 5 data bits: 7 bits a character; the last one is still on its way.
    const character = (7 / 9600) * 1e9;
    expect(now).toBeGreaterThan(18 * character);
    expect(now).toBeLessThan(21 * character);
  });
});

/** Runs `echo` on COM1 with `end` at it, and `talk` meanwhile. */
async function converse(end: SerialEnd, talk: () => Promise<void>): Promise<string> {
  await using vm = await Vm.create(echo(places[0]));
  // All of the answer has to arrive, however busy this process is.
  vm.serial[0]!.attach(end, { ...defaultSetting({ kind: "null" }), policy: { kind: "hold" } });
  const talked = talk();
  const { kind } = await vm.run();
  await vm.serial[0]!.detach();
  await talked;
  return kind;
}

/** Sends a long text in pieces and has it back, then the "q" that ends the guest. */
async function talkTo(send: (text: string) => void, heard: () => string): Promise<void> {
  let sent = "";
  for (const length of [1, 15, 16, 17, 1000, 100_000]) {
    const text = "abcdefgh".repeat(length).slice(0, length);
    sent += text;
    send(text);
    await until(() => heard().length >= sent.length);
  }
  send("q");
  await until(() => heard().length > sent.length);
  expect(heard()).toBe(`${sent}q`);
}

describe("a guest that answers", () => {
  it("is spoken to over a socket, and again over a new connection", async () => {
    const path = join(folder, "line");
    const end = await ListeningEnd.listen({ family: "unix", path });
    const kind = await converse(end, async () => {
      const first = await dial(path);
      let text = "";
      first.on("data", (data) => {
        text += data.toString();
      });
      first.write("hello");
      await until(() => text === "hello");
      first.destroy();
      const second = await dial(path);
      let heard = "";
      second.on("data", (data) => {
        heard += data.toString();
      });
      await talkTo(
        (data) => second.write(data),
        () => heard,
      );
    });
    expect(kind).toBe("halted");
  });

  it("is spoken to over a WebSocket", async () => {
    const end = await WebSocketEnd.listen({ host: "127.0.0.1", port: 0, origins: [] });
    const kind = await converse(end, async () => {
      const peer = new WebSocket(`ws://127.0.0.1:${end.port}/`);
      let heard = "";
      peer.on("message", (data: Buffer) => {
        heard += data.toString();
      });
      await new Promise((resolve) => peer.once("open", resolve));
      await talkTo(
        (data) => peer.send(data),
        () => heard,
      );
    });
    expect(kind).toBe("halted");
  });

  it("is spoken to over a pseudo terminal", async () => {
    const end = await PtyEnd.open();
    const kind = await converse(end, async () => {
      const terminal = new ReadStream(openSync(end.path, constants.O_RDONLY | constants.O_NOCTTY));
      // Writes on a thread: a terminal's own would wait here for the other side, which is in this process too.
      const keyboard = createWriteStream(end.path, { flags: "r+" });
      let heard = "";
      terminal.on("data", (data: Buffer) => {
        heard += data.toString();
      });
      await talkTo(
        (data) => keyboard.write(data),
        () => heard,
      );
      terminal.destroy();
      keyboard.destroy();
    });
    expect(kind).toBe("halted");
  });
});

it("an idle guest whose output waits gives the host time before guest time jumps to the limit", async () => {
  const { end, leave } = await deadPeer();
  // Sends until the transmitter is busy, then waits for an interrupt that never comes.
  const config = program((asm) => {
    const { op } = asm;
    asm.label("send");
    op.mov(dx, places[0]);
    op.out(dx, al);
    op.mov(dx, places[0] + 5);
    op.in(al, dx);
    op.test(al, 0x20);
    op.jnz("send");
    op.sti();
    op.hlt();
  });
  await using vm = await Vm.create(config);
  const limit = 3_600_000_000_000;
  vm.serial[0]!.attach(end, {
    ...defaultSetting({ kind: "null" }),
    policy: { kind: "stall", limit },
    keep: 1000,
  });
  vm.onIdle = () => {
    // The peer leaves, so nothing has to wait any more.
    setTimeout(leave, 5);
    if (vm.inspect()["com1"] !== undefined && !(vm.inspect()["com1"] as { stalled: boolean }).stalled)
      vm.pause();
  };
  expect((await vm.run()).kind).toBe("paused");
  expect(vm.now).toBeLessThan(limit);
  expect((vm.inspect()["com1"] as { lost: number }).lost).toBe(0);
  await vm.serial[0]!.detach();
});
