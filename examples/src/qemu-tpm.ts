// QEMU with our TPM in the place of swtpm: a control socket is all that it needs. node examples/dist/qemu-tpm.js
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Alg } from "@entresol/tpm-types";
import { inProcess, MemoryStore, SocketService, TpmClient, TpmHost } from "@entresol/vtpm";

/** Starts QEMU's firmware (SeaBIOS) with a TPM for a moment. Gives PCR 0 of SHA-256, which the firmware has measured itself into. */
export async function firmwareMeasurement(interfaceName: "tpm-crb" | "tpm-tis"): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "entresol-qemu-tpm-"));
  const path = join(folder, "control");
  const host = new TpmHost({ store: new MemoryStore() });
  const service = await SocketService.open({ host, control: { kind: "unix", path, mode: 0o600 } });
  const qemu = spawn(
    "qemu-system-x86_64",
    [
      ...["-machine", "q35,accel=tcg", "-display", "none", "-net", "none", "-m", "64"],
      ...["-chardev", `socket,id=tpm,path=${path}`, "-tpmdev", "emulator,id=tpm0,chardev=tpm"],
      ...["-device", `${interfaceName},tpmdev=tpm0`],
    ],
    { stdio: "ignore" },
  );
  try {
    return await measured(new TpmClient(inProcess(host)), () => qemu.exitCode === null);
  } finally {
    const exited = new Promise((resolve) => qemu.once("exit", resolve));
    if (qemu.kill()) await exited;
    await service.close();
    rmSync(folder, { recursive: true });
  }
}

/** Waits until the firmware has measured its last, the separators in PCRs 0 to 7. Gives "" when QEMU ends before. */
async function measured(client: TpmClient, running: () => boolean): Promise<string> {
  const read = async (pcr: number): Promise<string> => {
    const pcrSelectionIn = [{ hash: Alg.SHA256, pcrSelect: Uint8Array.of(1 << pcr, 0, 0) }];
    const { pcrValues } = await client.run("PCR_Read", {}, { pcrSelectionIn });
    return Buffer.from(pcrValues[0] ?? []).toString("hex");
  };
  while (running()) {
    const separator = await read(7).catch(() => "");
    if (/[1-9a-f]/.test(separator)) return read(0);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return "";
}

if (process.argv[1]?.endsWith("qemu-tpm.js")) console.log(await firmwareMeasurement("tpm-crb"));
