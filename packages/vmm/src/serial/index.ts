import { FileEnd } from "./file-end.ts";
import { PtyEnd } from "./pty-end.ts";
import { NullEnd, type SerialEnd } from "./serial-end.ts";
import type { SerialEndSetting } from "./serial-setting.ts";
import { ConnectingEnd, ListeningEnd } from "./socket-end.ts";
import { StreamEnd } from "./stream-end.ts";
import { WebSocketEnd } from "./websocket-end.ts";

export { NullEnd, type SerialEnd, SerialEndError, type SerialEndErrorCode } from "./serial-end.ts";
export {
  defaultSetting,
  type OutputPolicy,
  type SerialEndSetting,
  type SerialLineSetting,
  type SerialSetting,
  type SocketAddress,
} from "./serial-setting.ts";

/**
 * Makes an end: opens its file, listens on its socket. Rejects with `SerialEndError`. What it makes is to be closed. Its input rests
 * until it is attached to a port: who connects while the machine is still being made may send at once.
 */
export async function openSerialEnd(setting: SerialEndSetting): Promise<SerialEnd> {
  const end = await makeEnd(setting);
  end.pauseInput(true);
  return end;
}

async function makeEnd(setting: SerialEndSetting): Promise<SerialEnd> {
  switch (setting.kind) {
    case "console":
      return new StreamEnd("console", process.stdout);
    case "null":
      return new NullEnd();
    case "file":
      return new FileEnd(setting.path);
    case "socket":
      return setting.connect ? new ConnectingEnd(setting.address) : ListeningEnd.listen(setting.address);
    case "pty":
      return PtyEnd.open();
    case "websocket":
      return WebSocketEnd.listen(setting);
    default:
      return setting satisfies never;
  }
}
