/*
 * Programs and guests that some tests run beside ours. A missing one costs a line and its tests; under ENTRESOL_REQUIRE_PEERS=1 it
 * fails the run before the first test, so that no skip goes unseen.
 */
import { spawnSync } from "node:child_process";
import { resolve } from "node:path";

const peers = [
  {
    program: "cc",
    without: "the processor is not compared with the real one on fresh cases (the recorded ones are)",
  },
  { program: "as", without: "the assembler is not compared with GNU as" },
  { program: "objdump", without: "the assembler is not compared with GNU objdump" },
  {
    program: "qemu-system-x86_64",
    without:
      "the test guest does not run on an independent machine, and devices are not compared with QEMU's",
  },
  { program: "tpm2_getrandom", without: "the TPM service is not used by an independent client" },
  { program: "swtpm", without: "the TPM is not compared with another one" },
  { program: "swtpm_setup", without: "provisioning is not compared with that of another one" },
  { program: "openssl", without: "certificates are not verified by an independent program" },
  { program: "chromium", without: "the page that verifies evidence is not opened in a browser" },
  { program: "apt-get", without: "no Debian guest can be fetched" },
];

export default function setup() {
  const required = process.env.ENTRESOL_REQUIRE_PEERS === "1";
  const missing = peers.filter(({ program }) => spawnSync(program, ["--version"]).error !== undefined);
  for (const { program, without } of missing) console.log(`${program} is not installed: ${without}`);
  if (!required) return;
  if (missing.length > 0)
    throw new Error(`ENTRESOL_REQUIRE_PEERS=1: missing ${missing.map(({ program }) => program).join(", ")}`);
  const command = resolve(import.meta.dirname, "../packages/vmm/bin/entresol.js");
  for (const release of ["debian12", "debian13"]) {
    const { status, stderr } = spawnSync(process.execPath, [command, "guest", "fetch", release], {
      encoding: "utf8",
    });
    if (status !== 0) throw new Error(`ENTRESOL_REQUIRE_PEERS=1: ${release} could not be fetched: ${stderr}`);
  }
}
