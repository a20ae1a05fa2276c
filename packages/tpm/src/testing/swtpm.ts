import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";

/** A running swtpm, started and powered on. */
export interface Swtpm {
  /** The response to a command; undefined when swtpm has died of it. One command at a time. */
  send(command: Uint8Array): Promise<Uint8Array | undefined>;
  stop(): Promise<void>;
}

/** Starts swtpm with its state and its sockets in `folder`, and connects to it. Throws when there is none, or it does not come up. */
export async function startSwtpm(folder: string): Promise<Swtpm> {
  const path = join(folder, "server");
  const unix = (name: string) => `type=unixio,path=${join(folder, name)}`;
  const options = ["socket", "--tpm2", "--server", unix("server"), "--ctrl", unix("ctrl")];
  const flags = ["--tpmstate", `dir=${folder}`, "--flags", "not-need-init,startup-clear"];
  const child = spawn("swtpm", [...options, ...flags], { stdio: "ignore" });
  let failure: string | undefined;
  const ended = new Promise<string>((resolve) => {
    child.once("exit", (code, signal) => resolve(`swtpm ended: ${signal ?? code}`));
    child.once("error", (error) => resolve(`swtpm: ${error.message}`));
  }).then((reason) => {
    failure = reason;
  });
  const there = (): boolean => existsSync(path) || failure !== undefined;
  while (!there()) await new Promise((resolve) => setTimeout(resolve, 10));
  if (failure !== undefined) throw new Error(failure);
  const socket = connect(path);
  let received = Buffer.alloc(0);
  let wake = (): void => {};
  socket.on("data", (data) => {
    received = Buffer.concat([received, data]);
    wake();
  });
  socket.on("error", () => wake());
  socket.on("close", () => wake());
  return {
    async send(command) {
      received = Buffer.alloc(0);
      socket.write(command);
      while (received.length < 10 || received.length < received.readUInt32BE(2)) {
        if (socket.destroyed) return undefined;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return received;
    },
    async stop() {
      socket.destroy();
      child.kill();
      await ended;
    },
  };
}
