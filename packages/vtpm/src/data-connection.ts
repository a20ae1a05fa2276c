import type { Socket } from "node:net";
import { Rc, St, TpmWriter } from "@entresol/tpm-types";
import { waitForReader } from "./backpressure.ts";
import { CommandStream, framedResponse } from "./command-stream.ts";
import { BUFFER_LIMITS, type TpmHost } from "./tpm-host.ts";

export interface DataConnectionOptions {
  readonly host: TpmHost;
  /** The connection ends with the first response. */
  readonly oneCommand?: boolean;
  /** Whoever is asked for a number of the commands that ran sees this one before its response is sent. */
  log?(line: string): void;
}

const HEADER = 10;

/** Serves TPM commands that come over a connected socket, one after the other, until it closes. */
export function serveCommands(socket: Socket, options: DataConnectionOptions): void {
  const { host, log } = options;
  const stream = new CommandStream(BUFFER_LIMITS.maximum);
  const run = (): void => {
    for (;;) {
      const command = stream.next();
      if (command === undefined) return;
      if (typeof command === "number") {
        log?.(
          `data: a command of a length that cannot be (0x${command.toString(16)}): the connection is closed`,
        );
        socket.end(new TpmWriter(HEADER).u16(St.NO_SESSIONS).u32(HEADER).u32(Rc.COMMAND_SIZE).finish());
        return;
      }
      if (command.locality !== undefined) host.setLocality(command.locality);
      const response = host.execute(command.bytes);
      const reply = command.prefixed ? framedResponse(response) : response;
      if (options.oneCommand === true) {
        socket.end(reply);
        return;
      }
      socket.write(reply);
    }
  };
  socket.setNoDelay(true);
  socket.on("data", (bytes: Buffer) => {
    if (!socket.writable) return;
    stream.push(bytes);
    run();
    waitForReader(socket);
  });
  socket.on("error", (error) => log?.(`data: ${error.message}`));
  socket.resume();
}
