// The ACPI tables of machines of several shapes through ACPICA: `iasl` must read each table, and what it read must compile again
// without an error or a warning. node checks/acpi-tables.mjs (after npm run build; needs Debian's acpica-tools)
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Chipset, eventLogArea } from "@entresol/devices";

if (spawnSync("iasl", ["-v"]).error !== undefined) {
  console.log("iasl is not installed: the ACPI tables are not read by ACPICA");
  process.exit(process.env.ENTRESOL_REQUIRE_PEERS === "1" ? 1 : 0);
}

/** Tables that ACPICA knows; the pointer and those of the MultiProcessor Specification are not among them. */
const known = /^(DSDT|FACP|APIC|MCFG|HPET|TPM2|FACS|XSDT)$/;
/** As `entresol boot` has it. */
const tpm = (kind) => ({
  tpm: {
    interface: kind,
    base: 0xfed40000,
    length: 0x5000,
    controlArea: 0x40,
    log: eventLogArea,
    presence: 0xfed45000,
  },
});
const shapes = [
  { processors: 1, serialPorts: 1, rootPorts: 0, physicalAddressBits: 36 },
  { processors: 4, serialPorts: 2, rootPorts: 2, physicalAddressBits: 40, ...tpm("crb") },
  { processors: 16, serialPorts: 4, rootPorts: 8, physicalAddressBits: 48, ...tpm("tis") },
];
let passed = 0;
let failed = 0;
for (const { processors, serialPorts, ...shape } of shapes) {
  const folder = mkdtempSync(join(tmpdir(), "entresol-acpi-"));
  const { regions } = new Chipset({
    clock: { now: () => 0 },
    processors,
    tscFrequency: 1e9,
    tscOffset: () => ({ low: 0, high: 0 }),
    rtcStart: 0,
    serialOutputs: Array.from({ length: serialPorts }, () => () => {}),
    ...shape,
    powerOff() {},
    reset() {},
    signals: { init() {}, startup() {}, nmi() {}, ready() {} },
  }).acpiTables();
  for (const { signature, bytes } of regions.filter((region) => known.test(region.signature))) {
    writeFileSync(join(folder, `${signature}.dat`), bytes);
    const iasl = (...options) => {
      const { status, stdout, stderr } = spawnSync("iasl", options, { cwd: folder, encoding: "utf8" });
      return { status, text: stdout + stderr };
    };
    const runs = [iasl("-d", `${signature}.dat`)];
    if (!/^(XSDT|FACS)$/.test(signature)) runs.push(iasl(`${signature}.dsl`));
    const wrong = runs.flatMap(({ status, text }) => [
      ...(status === 0 ? [] : [`status ${status}`]),
      ...text
        .split("\n")
        .filter((line) => /\b[1-9]\d* (Errors|Warnings)|^(Error|Warning)|invalid|checksum/i.test(line)),
    ]);
    if (wrong.length === 0) passed++;
    else {
      failed++;
      console.log(
        `FAIL ${signature} of ${processors} processors, ${shape.rootPorts} root ports: ${wrong.join("; ")}`,
      );
    }
  }
  rmSync(folder, { recursive: true });
}
console.log(`${passed} passed, ${failed} failed, 0 skipped`);
process.exitCode = failed === 0 ? 0 : 1;
