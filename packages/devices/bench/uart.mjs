/*
 * Bytes per second through a 16550A, by the port accesses that a guest makes for them, beside the floor: the same number of
 * bytes handed to an empty sink, or taken from an empty source, by a direct call.
 */
import { pathToFileURL } from "node:url";
import { ManualTime, Uart16550 } from "../dist/index.js";

const base = 0x3f8;
const bytes = 2_000_000;
const rounds = 5;

/** Median of a few runs after one to warm up; in MB/s. */
function megabytesPerSecond(run) {
  const rates = [];
  for (let round = 0; round <= rounds; round++) {
    const start = process.hrtime.bigint();
    run();
    const seconds = Number(process.hrtime.bigint() - start) / 1e9;
    if (round > 0) rates.push(bytes / seconds / 1e6);
  }
  return rates.sort((a, b) => a - b)[rounds >> 1];
}

function machine() {
  let sum = 0;
  let interrupts = 0;
  const uart = new Uart16550({
    name: "com1",
    base,
    timebase: new ManualTime(),
    line: {
      set(level) {
        if (level) interrupts++;
      },
    },
    output(byte) {
      sum += byte;
    },
  });
  const out = (offset, value) => uart.portWrite(base + offset, 1, value);
  const into = (offset) => uart.portRead(base + offset, 1);
  // As a driver leaves it: 8N1, FIFO with trigger 8, DTR, RTS, OUT2.
  out(3, 0x03);
  out(2, 0x81);
  out(4, 0x0b);
  return { uart, out, into, total: () => sum + interrupts };
}

/** A console that waits for LSR before each byte. */
function polledOutput() {
  const { out, into } = machine();
  return () => {
    for (let index = 0; index < bytes; index++) {
      while ((into(5) & 0x20) === 0);
      out(0, index & 0xff);
    }
  };
}

/** A driver that writes a FIFO's worth of bytes per THRE interrupt. */
function interruptOutput() {
  const { out, into } = machine();
  out(1, 0x02);
  return () => {
    for (let index = 0; index < bytes; index += 16) {
      into(2);
      for (let byte = 0; byte < 16; byte++) out(0, byte);
    }
  };
}

/** A driver that reads LSR and RBR until no data is left. */
function input() {
  const { uart, out, into } = machine();
  out(1, 0x01);
  const chunk = new Uint8Array(32_768).fill(0x61);
  return () => {
    for (let sent = 0; sent < bytes; sent += chunk.length) {
      uart.receive(chunk);
      while ((into(5) & 0x01) !== 0) into(0);
    }
  };
}

function emptySink() {
  let sum = 0;
  const sink = (byte) => {
    sum += byte;
  };
  return () => {
    for (let index = 0; index < bytes; index++) sink(index & 0xff);
    return sum;
  };
}

function emptySource() {
  let next = 0;
  let sum = 0;
  const source = () => next++ & 0xff;
  return () => {
    for (let index = 0; index < bytes; index++) sum += source();
    return sum;
  };
}

export async function bench() {
  const sink = megabytesPerSecond(emptySink());
  const source = megabytesPerSecond(emptySource());
  const result = (name, ours, peer, peerName) => ({
    case: name,
    ours,
    peer,
    peerName,
    unit: "MB/s",
    ratio: ours / peer,
  });
  return [
    result("16550A output, LSR polled", megabytesPerSecond(polledOutput()), sink, "empty sink"),
    result(
      "16550A output, THRE interrupt per 16 bytes",
      megabytesPerSecond(interruptOutput()),
      sink,
      "empty sink",
    ),
    result("16550A input, LSR polled", megabytesPerSecond(input()), source, "empty source"),
  ];
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  console.table(await bench());
}
