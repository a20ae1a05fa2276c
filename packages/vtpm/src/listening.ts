import { chmodSync, chownSync, lstatSync, unlinkSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";

/** Where connections are expected. */
export type ListeningPlace =
  | { readonly kind: "tcp"; readonly port: number; readonly address: string }
  | {
      readonly kind: "unix";
      readonly path: string;
      /** Permission bits of the socket's file. */
      readonly mode: number;
      readonly uid?: number;
      readonly gid?: number;
    }
  /** A descriptor that listens already. */
  | { readonly kind: "descriptor"; readonly descriptor: number };

/** Clients of one channel at a time; more are turned away at once, so that a crowd can fill neither the memory nor the table of descriptors. */
export const MOST_CLIENTS = 128;
/** After so many ms of silence the system asks whether a client is still there. */
const KEEP_ALIVE = 60_000;

/** A socket that nobody serves any more stands in the way of the next service. */
function removeStaleSocket(path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true) unlinkSync(path);
}

/**
 * Listens; resolves when connections may come. Connections are given paused. Rejects with the system's error.
 */
export function listen(place: ListeningPlace, accept: (socket: Socket) => void): Promise<Server> {
  const server = createServer(
    { pauseOnConnect: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE },
    accept,
  );
  server.maxConnections = MOST_CLIENTS;
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.once("listening", () => {
      server.off("error", reject);
      // A connection that could not be accepted concerns nobody but who made it.
      server.on("error", () => {});
      try {
        if (place.kind === "unix") {
          chmodSync(place.path, place.mode);
          if (place.uid !== undefined || place.gid !== undefined)
            chownSync(place.path, place.uid ?? process.getuid!(), place.gid ?? process.getgid!());
        }
        resolve(server);
      } catch (error) {
        server.close();
        reject(error);
      }
    });
    if (place.kind === "tcp") server.listen(place.port, place.address);
    else if (place.kind === "descriptor") server.listen({ fd: place.descriptor });
    else {
      removeStaleSocket(place.path);
      server.listen(place.path);
    }
  });
}
