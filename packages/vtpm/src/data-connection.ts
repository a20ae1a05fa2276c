import type { Socket } from "node:net";
import { Rc } from "@entresol/tpm-types";
import { Attention } from "./attention.ts";
import { waitForReader } from "./backpressure.ts";
import { bareResponse } from "./command-header.ts";
import { CommandStream, framedResponse } from "./command-stream.ts";
import { BUFFER_LIMITS, type TpmHost } from "./tpm-host.ts";

export interface DataConnectionOptions {
  readonly host: TpmHost;
  /** The connection ends with the first response. */
  readonly oneCommand?: boolean;
  log?(line: string): void;
}

/** Serves TPM commands that come over a connected socket, one after the other, until it closes. */
export function serveCommands(socket: Socket, options: DataConnectionOptions): void {
  const { host, log, oneCommand } = options;
  const stream = new CommandStream(BUFFER_LIMITS.maximum);
  const attention = new Attention();
  /** A command has no response yet. */
  let waiting = false;
  const answer = (reply: Uint8Array): void => {
    waiting = false;
    if (!socket.writable) return;
    if (oneCommand === true) socket.end(reply);
    else socket.write(reply);
    attention.responseSent();
  };
  const run = (): void => {
    while (!waiting && socket.writable) {
      const command = stream.next();
      if (command === undefined) return;
      if (typeof command === "number") {
        log?.(
          `data: a command of a length that cannot be (0x${command.toString(16)}): the connection is closed`,
        );
        socket.end(bareResponse(Rc.COMMAND_SIZE));
        return;
      }
      const { bytes, prefixed, locality } = command;
      const chosen = locality !== undefined && host.setLocality(locality) ? locality : undefined;
      let later = false;
      waiting = true;
      attention.commandCame();
      host.submit(bytes, chosen, (response) => {
        answer(prefixed ? framedResponse(response) : response);
        if (later) goOn();
      });
      later = true;
    }
  };
  /** What a client sends while it has no response is left with the system, which makes it wait. */
  const holdBack = (): void => {
    if (waiting) socket.pause();
    else waitForReader(socket);
  };
  const goOn = (): void => {
    run();
    socket.resume();
    holdBack();
  };
  socket.setNoDelay(true);
  socket.on("data", (bytes: Buffer) => {
    if (!socket.writable) return;
    stream.push(bytes);
    run();
    holdBack();
  });
  socket.on("close", () => attention.end());
  socket.on("error", (error) => log?.(`data: ${error.message}`));
  socket.resume();
}
