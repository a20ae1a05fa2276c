import { createHash } from "node:crypto";
import { buildAcpiTables } from "@entresol/devices";
import { eventTypeName, parseEventLog, replay } from "@entresol/evidence";
import { Alg, algorithmName } from "@entresol/tpm-types";
import { InlineExecutor, MemoryStore, TpmHost } from "@entresol/vtpm";
import { describe, expect, it } from "vitest";
import type { CheckedConfig } from "../config.ts";
import { FirmwareTpm } from "./firmware-tpm.ts";
import { measureBoot, startTpm } from "./measured-boot.ts";
import { measurements } from "./measurements.ts";

const LIMIT = 0x10000;
const acpi = buildAcpiTables({ processors: 1, serialPorts: [] });
const kernel = new Uint8Array(1000).fill(1);
const initrd = new Uint8Array(500).fill(2);
const linux: CheckedConfig["boot"] = { kind: "linux", kernel, initrd, commandLine: "console=ttyS0" };

function poweredTpm(store = new MemoryStore()): { executor: InlineExecutor; tpm: FirmwareTpm } {
  const executor = new InlineExecutor(new TpmHost({ store }));
  executor.power(true);
  return { executor, tpm: new FirmwareTpm(executor) };
}

/** As a machine does when it starts. */
function boot(tpm: FirmwareTpm, list = measurements(linux, acpi)): Uint8Array {
  startTpm(tpm);
  return measureBoot(tpm, list, LIMIT);
}

/** Every PCR of a bank, in hexadecimal. */
function pcrs(tpm: FirmwareTpm, hash: number): string[] {
  return Array.from({ length: 24 }, (_, n) => {
    const pcrSelect = new Uint8Array(3);
    pcrSelect[n >> 3] = 1 << (n & 7);
    const answer = tpm.run("PCR_Read", {}, { pcrSelectionIn: [{ hash, pcrSelect }] });
    return Buffer.from(answer!.pcrValues[0]!).toString("hex");
  });
}

const sha = (name: string, ...parts: Uint8Array[]) => {
  const hash = createHash(name);
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
};
const list = (of: CheckedConfig["boot"]) =>
  measurements(of, acpi).map(
    ({ pcr, type, data }) => `${pcr} ${eventTypeName(type)} ${Buffer.from(data).toString("latin1")}`,
  );

describe("what is measured", () => {
  const separators = [0, 1, 2, 3, 4, 5, 6, 7].map((pcr) => `${pcr} EV_SEPARATOR \0\0\0\0`);

  it("is version and tables of the machine, separators, then what a boot loader reads", () => {
    const [version, ...others] = list(linux);
    expect(version).toMatch(/^0 EV_S_CRTM_VERSION E\0n\0t\0r\0e\0s\0o\0l\0 \0.*\0\0$/);
    expect(others).toEqual([
      "1 EV_PLATFORM_CONFIG_FLAGS ACPI DATA\0",
      ...separators,
      "4 EV_IPL kernel\0",
      "9 EV_IPL kernel\0",
      "8 EV_IPL kernel_cmdline: console=ttyS0\0",
      "9 EV_IPL initrd\0",
    ]);
  });

  it("is each module of a multiboot kernel with its command line, and a flat image", () => {
    const modules = [{ bytes: initrd, commandLine: "first" }];
    expect(list({ kind: "multiboot", kernel, commandLine: "k", modules }).slice(10)).toEqual([
      "4 EV_IPL kernel\0",
      "9 EV_IPL kernel\0",
      "8 EV_IPL kernel_cmdline: k\0",
      "9 EV_IPL module 0\0",
      "8 EV_IPL module_cmdline: first\0",
    ]);
    expect(list({ kind: "flat", image: kernel, loadAddress: 0, entry: 0 }).slice(10)).toEqual([
      "4 EV_IPL image\0",
      "9 EV_IPL image\0",
    ]);
  });

  it("is another digest for another kernel, initramfs, command line and machine", () => {
    const others: [CheckedConfig["boot"], typeof acpi][] = [
      [{ ...linux, kernel: kernel.slice(1) }, acpi],
      [{ ...linux, initrd: initrd.slice(1) }, acpi],
      [{ ...linux, commandLine: "console=ttyS0 quiet" }, acpi],
      [linux, buildAcpiTables({ processors: 2, serialPorts: [] })],
    ];
    const changed = others.map(([boot, tables]) => {
      const before = measurements(linux, acpi);
      return measurements(boot, tables)
        .filter(({ measured }, n) => Buffer.compare(measured, before[n]!.measured) !== 0)
        .map(({ pcr }) => pcr);
    });
    expect(changed).toEqual([[4, 9], [9], [8], [1]]);
  });
});

describe("a measured boot", () => {
  const { tpm } = poweredTpm();
  const log = boot(tpm);

  it("leaves PCRs that the event log explains, in every bank", () => {
    const parsed = parseEventLog(log);
    expect(parsed.algorithms.map(({ id }) => id)).toEqual([Alg.SHA1, Alg.SHA256, Alg.SHA384, Alg.SHA512]);
    for (const { id, digestSize } of parsed.algorithms) {
      const name = algorithmName(id).toLowerCase();
      const values = replay(parsed, id, (value, digest) => sha(name, value, digest));
      const expected = Array.from({ length: 24 }, (_, n) => {
        const initial = n >= 17 && n <= 22 ? 0xff : 0;
        return Buffer.from(values.get(n) ?? new Uint8Array(digestSize).fill(initial)).toString("hex");
      });
      expect(pcrs(tpm, id)).toEqual(expected);
    }
  });

  it("logs the digests of the very files", () => {
    const digests = parseEventLog(log).events.map(({ digests: all }) =>
      Buffer.from(all[1]!.digest).toString("hex"),
    );
    for (const bytes of [kernel, initrd, Buffer.from("console=ttyS0")])
      expect(digests).toContain(Buffer.from(sha("sha256", bytes)).toString("hex"));
  });

  it("leaves a platform hierarchy that nobody can use", () => {
    expect(tpm.run("Clear", { authHandle: 0x4000000c }, {})).toBeUndefined();
  });

  it("begins anew when power was away", () => {
    const { executor, tpm: other } = poweredTpm();
    const first = boot(other);
    const before = pcrs(other, Alg.SHA256);
    executor.power(true);
    expect(boot(other)).toEqual(first);
    expect(pcrs(other, Alg.SHA256)).toEqual(before);
  });

  it("is refused with a TPM that does not work, and with a log that is too long", () => {
    const broken = poweredTpm(
      new (class extends MemoryStore {
        override commit(): void {
          throw new Error("no space left");
        }
      })(),
    );
    expect(() => boot(broken.tpm)).toThrow(
      expect.objectContaining({ code: "failed", message: expect.stringContaining("TPM2_Startup") }),
    );
    const many = { ...linux, commandLine: "x".repeat(LIMIT) };
    expect(() => boot(poweredTpm().tpm, measurements(many, acpi))).toThrow(
      expect.objectContaining({ code: "bad-config" }),
    );
  });
});
