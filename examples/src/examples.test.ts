import { spawnSync } from "node:child_process";
import { expect, it } from "vitest";
import { bootLinux } from "./boot-linux.ts";
import { double } from "./own-device.ts";

it("own-device: the guest reads what the device made of its value", async () => {
  expect(await double(4)).toBe("8");
  expect(await double(1)).toBe("2");
});

const apt = spawnSync("apt-get", ["--version"]).status === 0;
it.runIf(apt)("boot-linux: Debian runs a command and powers off", { timeout: 120_000 }, async () => {
  expect(await bootLinux("debian12", "echo hello from $(uname -s); exit 3")).toEqual({
    output: "hello from Linux\n",
    status: 3,
    stop: "power-off",
  });
});
