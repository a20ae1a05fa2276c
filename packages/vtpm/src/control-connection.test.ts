import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type ControlSurroundings, controlCommands } from "./control-commands.ts";
import { ControlConnection } from "./control-connection.ts";
import { information } from "./information.ts";
import { MemoryStore } from "./state-store.ts";
import { raw, success } from "./testing/loopback-client.ts";
import { TpmHost } from "./tpm-host.ts";

interface Bench {
  readonly host: TpmHost;
  readonly control: ControlConnection;
  /** Hexadecimal digits of all replies since the last call. */
  replies(): string;
  readonly events: string[];
}

function bench(options: Partial<ConstructorParameters<typeof TpmHost>[0]> = {}): Bench {
  const host = new TpmHost({ store: new MemoryStore(), ...options });
  const events: string[] = [];
  let sent: Uint8Array[] = [];
  const surroundings: ControlSurroundings = {
    shutdown: () => void events.push("shutdown"),
    takeDataConnection: () => "none",
    information,
  };
  const control = new ControlConnection({
    host,
    surroundings,
    send: (reply) => void sent.push(reply),
    end: () => void events.push("end"),
  });
  const replies = (): string => {
    const text = Buffer.concat(sent).toString("hex");
    sent = [];
    return text;
  };
  return { host, control, replies, events };
}

function ask({ control, replies }: Bench, request: string): string {
  control.receive(Buffer.from(request, "hex"));
  return replies();
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const run = ({ host }: Bench, command: string): string => hex(host.execute(Buffer.from(command, "hex")));
/** Splits the reply of GET_STATEBLOB. */
function blobOf(reply: string) {
  const word = (i: number): number => Number.parseInt(reply.slice(8 * i, 8 * i + 8), 16);
  return { result: word(0), flags: word(1), total: word(2), length: word(3), data: reply.slice(32) };
}
const u32 = (value: number): string => value.toString(16).padStart(8, "0");
const getBlob = (kind: number, flags = 1): string => `0000000c${u32(flags)}${u32(kind)}00000000`;
const setBlob = (kind: number, data: string, flags = 0): string =>
  `0000000d${u32(flags)}${u32(kind)}${u32(data.length / 2)}${data}`;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("the control channel", () => {
  it("answers the sequence of QEMU's start as swtpm does", () => {
    const one = bench();
    const exchanges: [string, string][] = [
      ["00000001", "000000000001ffff"],
      ["0000000e", "00000000"],
      ["0000001100000000", "000000000000100000000af800001000"],
      ["0000000e", "00000000"],
      ["0000001100000f80", "0000000000000f8000000af800001000"],
      ["0000000200000000", "00000000"],
      ["00000004", "0000000000000000"],
      ["0000000500000000", "00000000"],
    ];
    for (const [request, reply] of exchanges) expect([request, ask(one, request)]).toEqual([request, reply]);
    expect(run(one, raw.startupClear)).toBe(success);
    expect(ask(one, "00000003")).toBe("00000000");
    expect(one.events).toEqual(["shutdown"]);
    expect(one.host.running).toBe(false);
  });

  it.each([
    ["HASH_START of a TPM without power", "00000006", "0000000a"],
    ["STORE_VOLATILE of a TPM without power", "0000000a", "0000000a"],
    ["CANCEL_TPM_CMD of a TPM without power", "00000009", "0000000a"],
    ["an unknown command", "000000ff", "0000000a"],
    ["STOP with a body", "0000000e00", "00000003"],
    ["INIT with too long a body", "000000020000000000", "00000003"],
    ["locality 5", "0000000505", "0000003d"],
    ["locality 4 with padding", "0000000504000000", "00000000"],
    ["SET_DATAFD without a descriptor", "00000010", "00000003"],
    ["GET_CONFIG without keys", "0000000f", "0000000000000000"],
    ["a buffer size below the least", "0000001100000001", "0000000000000af800000af800001000"],
    ["a buffer size above the largest", "00000011ffffffff", "000000000000100000000af800001000"],
    ["GET_INFO of nothing", `00000012${"00".repeat(16)}`, "0000000000000003000000037b7d00"],
    ["GET_INFO beyond its end", `00000012${"00".repeat(8)}0000000200000000`, "00000003"],
    ["a state that TPM 2.0 does not have", getBlob(3), "00000800000000000000000000000000"],
    ["a state of an unknown kind", setBlob(4, "aa"), "00000003"],
    ["a permanent state that is none", setBlob(1, "aabb"), "00000009"],
    ["an empty savestate", setBlob(3, ""), "00000000"],
  ])("answers %s", (_, request, reply) => {
    expect(ask(bench(), request)).toBe(reply);
  });

  it.each([
    ["SET_BUFFERSIZE", "0000001100000f80"],
    ["SET_STATEBLOB", setBlob(1, "aa")],
  ])("refuses %s while the TPM runs", (_, request) => {
    const one = bench();
    one.host.start();
    expect(ask(one, request)).toBe("0000000a");
    expect(ask(one, "0000000f")).toBe("0000000000000000");
  });

  it("waits for the rest of a request, and answers BAD_PARAMETER when it does not come", () => {
    const one = bench();
    expect(ask(one, "00000002000000")).toBe("");
    expect(ask(one, "00")).toBe("00000000");
    expect(one.host.running).toBe(true);
    expect(ask(one, "0000000200")).toBe("");
    vi.runAllTimers();
    expect(one.replies()).toBe("00000003");
    expect(ask(one, "0000")).toBe("");
    vi.runAllTimers();
    expect(one.events).toEqual(["end"]);
  });

  it("ends a connection that announces a state of more than 1 MiB", () => {
    const one = bench();
    expect(ask(one, "0000000d000000000000000100100001")).toBe("00000003");
    expect(one.events).toEqual(["end"]);
  });

  it("takes the payload of a measurement in pieces of any size", () => {
    const values = [[3000], [1, 2999], [1500, 1500]].map((pieces) => {
      const one = bench();
      one.host.start();
      run(one, raw.startupClear);
      ask(one, "00000006");
      expect(ask(one, "0000000700000bb8")).toBe("");
      for (const [i, length] of pieces.entries())
        expect(ask(one, "5a".repeat(length))).toBe(i === pieces.length - 1 ? "00000000" : "");
      expect(ask(one, "00000008")).toBe("00000000");
      // PCR 17.
      return run(one, "8001000000140000017e00000001000b03000002");
    });
    expect(new Set(values).size).toBe(1);
    expect(values[0]).toMatch(/^8001000000[0-9a-f]{2}00000000/);
    expect(values[0]!.slice(-64)).not.toBe("00".repeat(32));
  });

  it("sets tpmEstablished by a measurement, and takes it back at localities 3 and 4 only", () => {
    const one = bench();
    one.host.start();
    ask(one, "00000006");
    ask(one, "00000008");
    expect(ask(one, "00000004")).toBe("0000000001000000");
    expect(ask(one, "0000000b00000000")).toBe("0000003d");
    expect(ask(one, "00000004")).toBe("0000000001000000");
    expect(ask(one, "0000000b03000000")).toBe("00000000");
    expect(ask(one, "00000004")).toBe("0000000000000000");
  });

  it.each([
    ["in the clear", {}, 1, 0],
    ["under a migration key", { migrationKey: new Uint8Array(32).fill(7) }, 1, 2],
    [
      "under the state's key when it is not asked for in the clear",
      { stateKey: new Uint8Array(32).fill(9) },
      0,
      2,
    ],
  ])("moves a running TPM %s", (_, keys, asked, flags) => {
    const source = bench(keys);
    source.host.start();
    expect(run(source, raw.startupClear)).toBe(success);
    run(source, raw.extendPcr16);
    const pcr = run(source, raw.readPcr16);
    const blobs = [1, 2].map((kind) => blobOf(ask(source, getBlob(kind, asked))));
    for (const blob of blobs) {
      expect(blob).toMatchObject({ result: 0, flags, total: blob.length, length: blob.data.length / 2 });
    }
    const target = bench(keys);
    for (const [i, { data }] of blobs.entries()) {
      // QEMU writes header and data apart.
      const request = setBlob(i + 1, data, flags);
      expect(ask(target, request.slice(0, 32))).toBe("");
      expect(ask(target, request.slice(32))).toBe("00000000");
    }
    expect(ask(target, "0000000200000001")).toBe("00000000");
    expect(run(target, raw.readPcr16)).toBe(pcr);
  });

  it("refuses a state under another key and one that was altered, and keeps what it had", () => {
    const source = bench({ migrationKey: new Uint8Array(32).fill(1) });
    source.host.start();
    const { data } = blobOf(ask(source, getBlob(1)));
    const other = bench({ migrationKey: new Uint8Array(32).fill(2) });
    expect(ask(other, setBlob(1, data, 2))).toBe("00000009");
    const altered = `${data.slice(0, -2)}${data.endsWith("00") ? "01" : "00"}`;
    const same = bench({ migrationKey: new Uint8Array(32).fill(1) });
    expect(ask(same, setBlob(1, altered, 2))).toBe("00000009");
    expect(ask(same, setBlob(1, data, 2))).toBe("00000000");
  });

  it("goes on from a stored volatile state, unless something happened since", () => {
    const one = bench();
    one.host.start();
    run(one, raw.startupClear);
    run(one, raw.extendPcr16);
    const pcr = run(one, raw.readPcr16);
    expect(ask(one, "0000000a")).toBe("00000000");
    expect(ask(one, "0000000e")).toBe("00000000");
    expect(ask(one, "0000000200000001")).toBe("00000000");
    expect(run(one, raw.readPcr16)).toBe(pcr);
    // The second start finds it deleted: the TPM waits for TPM2_Startup.
    ask(one, "0000000200000000");
    expect(run(one, raw.readPcr16)).toBe("80010000000a00000100");
  });

  it("shuts a TPM down in order before its power goes", () => {
    const one = bench();
    one.host.start();
    run(one, raw.startupClear);
    ask(one, "0000000e");
    ask(one, "0000000200000000");
    expect(run(one, raw.startupState)).toBe(success);
  });

  it("answers any bytes without an exception, and serves the next client", () => {
    const codes = controlCommands.map(({ code }) => code);
    const request = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc
        .tuple(fc.constantFrom(...codes), fc.uint8Array({ maxLength: 64 }))
        .map(([code, body]) => Buffer.concat([Buffer.from(u32(code), "hex"), body])),
      fc
        .tuple(fc.constantFrom(0x07, 0x0d), fc.integer({ min: 0, max: 80 }), fc.uint8Array({ maxLength: 80 }))
        .map(([code, length, data]) =>
          Buffer.concat([
            Buffer.from(u32(code) + (code === 0x0d ? "0000000000000001" : "") + u32(length), "hex"),
            data,
          ]),
        ),
    );
    const one = bench();
    fc.assert(
      fc.property(fc.array(request, { minLength: 1, maxLength: 12 }), (requests) => {
        for (const bytes of requests) {
          one.control.receive(bytes);
          vi.runAllTimers();
        }
        one.control.close();
        one.replies();
        expect(ask(one, "00000001")).toBe("000000000001ffff");
        // A volatile state may be stored: it is good for one start.
        for (const start of ["0000000200000001", "0000000200000000"]) {
          ask(one, "0000000e");
          expect(ask(one, start)).toBe("00000000");
        }
        expect(run(one, raw.startupClear)).toBe(success);
      }),
      { numRuns: 300 },
    );
  });
});
