import type { Socket } from "node:net";

/** Takes nothing more from a client that does not read its replies, until it has: it would fill the memory with them. */
export function waitForReader(socket: Socket): void {
  if (!socket.writableNeedDrain || socket.isPaused()) return;
  socket.pause();
  socket.once("drain", () => socket.resume());
}
