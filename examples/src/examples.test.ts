import { ensureGuest } from "@entresol/vmm";
import { expect, it } from "vitest";
import { bootLinux } from "./boot-linux.ts";
import { double } from "./own-device.ts";
import { addingKernel, runKernel } from "./test-kernel.ts";

it("own-device: the guest reads what the device made of its value", async () => {
  expect(await double(4)).toBe("8");
  expect(await double(1)).toBe("2");
});

it("test-kernel: the kernel ends with its result", async () => {
  expect(await runKernel(addingKernel())).toEqual({ output: "", end: 0 });
});

/** The guest comes from Debian's archive: where that is out of reach there is nothing to boot. */
const missing = await ensureGuest("debian12").then(
  () => undefined,
  (error: Error) => error.message,
);
if (missing !== undefined) console.log(`boot-linux skipped: ${missing}`);

it.skipIf(missing !== undefined && process.env["ENTRESOL_REQUIRE_PEERS"] !== "1")(
  "boot-linux: Debian runs a command and powers off",
  { timeout: 120_000 },
  async () => {
    const done = await bootLinux("debian12", "echo hello from $(uname -s); exit 3");
    expect(done).toEqual({ output: "hello from Linux\n", status: 3, stop: "power-off" });
  },
);
