import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { ClockWheel, ManualTime } from "@entresol/devices";
import { describe, expect, it } from "vitest";
import { CrbDevice } from "./crb.ts";
import { crbBufferAt } from "./crb-registers.ts";
import { InlineExecutor } from "./inline-executor.ts";
import type { InterfaceOptions } from "./interface-core.ts";
import { MemoryStore } from "./state-store.ts";
import { TisDevice } from "./tis.ts";
import { TpmHost } from "./tpm-host.ts";

/*
 * Every register access of four boots, SeaBIOS and OVMF each with QEMU 7.2's CRB and TIS and Linux 6.1 behind, done again in the same order. A
 * read must give what it gave there; a response must be the recorded one but for what the tables below name. The TPM is as slow as it was: a
 * command ends when the recording shows that it did.
 */

const repository = fileURLToPath(new URL("../../..", import.meta.url));
const vectors = join(process.env["ENTRESOL_VECTORS"] ?? join(repository, "../shared/vectors"), "tpm");
const missing = !existsSync(vectors);
if (missing)
  console.log("recorded register accesses are not here (ENTRESOL_VECTORS): their replay is left out");

interface Access {
  readonly write: boolean;
  readonly offset: number;
  readonly width: 1 | 2 | 4;
  /** Of the access's width. */
  readonly value: number;
  /** As it was recorded: of all bytes from the first to the end of the register. */
  readonly whole: number;
}

const line =
  /mmio_(?<kind>read|write)\s+(?:CRB \w+ (?<crb>0x\w+) len:(?<length>\d) val: |\w+\.(?<width>\d)\((?<tis>0x\w+)\) = )(?<value>0x\w+)/;

function accessesOf(name: string): Access[] {
  const text = gunzipSync(readFileSync(join(vectors, `mmio-${name}.log.gz`))).toString("latin1");
  const accesses: Access[] = [];
  for (const row of text.split("\n")) {
    const fields = line.exec(row)?.groups;
    if (fields === undefined) continue;
    // The FIFO's reads were recorded when their bytes were counted down to none; all of them were of one byte.
    const width = (Number(fields["length"] ?? fields["width"]) || 1) as 1 | 2 | 4;
    const whole = Number(fields["value"]);
    const value = whole % 2 ** (8 * width);
    const offset = Number(fields["crb"] ?? fields["tis"]);
    accesses.push({ write: fields["kind"] === "write", offset, width, value, whole });
  }
  return accesses;
}

const hex = (data: Uint8Array): string => Buffer.from(data).toString("hex");
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "hex"));

/** Commands whose responses say what this TPM is, or are random: only that they are answered alike is asked here, what with is in packages/tpm. */
function mayDiffer(command: string): boolean {
  const code = command.slice(12, 20);
  const capability = code === "0000017a" ? Number.parseInt(command.slice(20, 28), 16) : undefined;
  return code === "0000017b" || [0, 2, 6, 8].includes(capability ?? -1);
}

/** A response as far as it was read, and how long it was. */
interface Recorded {
  readonly bytes: Uint8Array;
  readonly length: number;
}

/** Our engine, which answers when it is let, and with the recorded bytes where its own may differ from them. */
class RecordedExecutor extends InlineExecutor {
  released = false;
  readonly wrong: string[] = [];
  readonly commands: string[] = [];
  readonly #recorded: readonly Recorded[];

  constructor(host: TpmHost, recorded: readonly Recorded[]) {
    super(host);
    this.#recorded = recorded;
  }

  override start(command: Uint8Array, locality: number): void {
    this.commands.push(hex(command));
    this.released = false;
    super.start(command, locality);
  }

  override poll(): Uint8Array | undefined {
    if (!this.released) return undefined;
    const ours = super.poll();
    if (ours === undefined) return undefined;
    const command = this.commands.at(-1)!;
    const recorded = this.#recorded[this.commands.length - 1]!;
    const ourPart = hex(ours.subarray(0, recorded.bytes.length));
    if (ours.length === recorded.length && ourPart === hex(recorded.bytes)) return ours;
    const alike = mayDiffer(command) && ourPart.slice(12, 20) === hex(recorded.bytes.subarray(6, 10));
    if (!alike) this.wrong.push(`${command}: ${hex(ours)}, not ${hex(recorded.bytes)}`);
    const response = new Uint8Array(recorded.length);
    response.set(recorded.bytes);
    return response;
  }
}

interface Replay<Interface> {
  readonly device: Interface;
  readonly executor: RecordedExecutor;
}

function machine<Interface extends { reset(): void }>(
  recorded: readonly Recorded[],
  make: (options: InterfaceOptions) => Interface,
): Replay<Interface> {
  const host = new TpmHost({ store: new MemoryStore(), tpm: { now: () => 0 } });
  const executor = new RecordedExecutor(host, recorded);
  const device = make({ name: "tpm", executor, timebase: new ClockWheel(new ManualTime()) });
  device.reset();
  return { device, executor };
}

/** By offset: bits that read otherwise here, and why. */
type Differences = ReadonlyMap<number, { readonly bits: number; readonly why: string }>;

function disagreements(
  { device, executor }: Replay<CrbDevice | TisDevice>,
  accesses: readonly Access[],
  differences: Differences,
  { completes, before }: { completes(access: Access): boolean; before?(access: Access): void },
): { wrong: string[]; used: number[] } {
  const wrong: string[] = [];
  const used = new Set<number>();
  accesses.forEach((access, index) => {
    const { write, offset, width, value } = access;
    before?.(access);
    if (write) {
      device.mmioWrite(offset, width, value);
      return;
    }
    if (completes(access)) executor.released = true;
    const ours = device.mmioRead(offset, width);
    if (ours === value) return;
    const bits = differences.get(offset)?.bits ?? 0;
    if ((ours & ~bits) === (value & ~bits)) used.add(offset);
    else
      wrong.push(
        `access ${index}: 0x${offset.toString(16)} reads ${ours.toString(16)}, not ${value.toString(16)}`,
      );
  });
  return { wrong: wrong.slice(0, 20), used: [...used] };
}

const revisionBits = 0xff00_0000 | 0;

describe.skipIf(missing)("register accesses recorded with QEMU", () => {
  it.each([
    ["seabios", 36],
    ["ovmf", 127],
  ])("of the CRB in a boot with %s are answered as they were there", (firmware, count) => {
    const text = readFileSync(join(vectors, `qemu-7.2-${firmware}-linux61-swtpm-transcript.json`), "utf8");
    const transcript = JSON.parse(text) as readonly (readonly [channel: string, hex: string])[];
    // The first exchange is QEMU's own. The buffer is RAM there and was not recorded: its content is what swtpm was sent.
    const commands = transcript.filter(([channel]) => channel === "data>").slice(1);
    const responses = transcript.filter(([channel]) => channel === "data<").slice(1);
    const replay = machine(
      responses.map(([, data]) => ({ bytes: bytes(data), length: data.length / 2 })),
      (options) => new CrbDevice(options),
    );
    const { device, executor } = replay;
    const differences: Differences = new Map([
      [0x30, { bits: revisionBits | 0x100, why: "five localities, and the revision" }],
      [0x36, { bits: 1, why: "the device number is that of the FIFO's DID_VID" }],
    ]);
    const accesses = accessesOf(`tpm-crb-${firmware}`);
    const { wrong, used } = disagreements(replay, accesses, differences, {
      completes: ({ offset, value }) => offset === 0x4c && value === 0,
      before: ({ write, offset }) => {
        if (!write || offset !== 0x4c) return;
        bytes(commands[executor.commands.length]![1]).forEach((byte, i) => {
          device.mmioWrite(crbBufferAt + i, 1, byte);
        });
      },
    });
    expect(wrong).toEqual([]);
    expect(executor.wrong).toEqual([]);
    expect(executor.commands).toEqual(commands.map(([, data]) => data));
    expect(executor.commands.length).toBe(count);
    expect(used).toEqual(firmware === "ovmf" ? [0x30, 0x36] : [0x30]);
  });

  it.each([
    ["seabios", 37],
    ["ovmf", 129],
  ])("of the TIS in a boot with %s are answered as they were there", (firmware, count) => {
    const accesses = accessesOf(`tpm-tis-${firmware}`);
    const recorded: { data: number[]; length: number }[] = [];
    for (const { write, offset, value, whole } of accesses) {
      if (write && offset === 0x18 && value === 0x20) recorded.push({ data: [], length: 0 });
      const last = recorded.at(-1);
      if (write || last === undefined) continue;
      // The first burst count with dataAvail is how much there is.
      if (offset === 0x18 && (whole & 0x10) !== 0) last.length ||= (whole >>> 8) & 0xffff;
      if (offset === 0x24) last.data.push(value);
    }
    const replay = machine(
      recorded.map(({ data, length }) => ({ bytes: Uint8Array.from(data), length })),
      (options) => new TisDevice(options),
    );
    const differences: Differences = new Map([
      [0x30, { bits: revisionBits, why: "the revision is in both places that have one" }],
    ]);
    const { wrong, used } = disagreements(replay, accesses, differences, {
      completes: ({ offset, value }) => offset === 0x18 && (value & 0x10) !== 0,
    });
    expect(wrong).toEqual([]);
    expect(replay.executor.wrong).toEqual([]);
    expect(replay.executor.commands.length).toBe(count);
    expect(used).toEqual([0x30]);
  });
});
