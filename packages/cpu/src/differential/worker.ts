import { parentPort, workerData } from "node:worker_threads";
import { Session, type SessionOptions } from "./session.ts";

/** A worker of campaign.ts: one session; each message is a range of cases, each answer its tally. */
if (parentPort !== null) {
  const port = parentPort;
  const session = await Session.create(workerData as SessionOptions);
  port.on("message", async (message: { from: number; count: number } | "close") => {
    if (message === "close") {
      session.close();
      port.close();
      return;
    }
    port.postMessage({ from: message.from, ...(await session.run(message.from, message.count)) });
  });
  port.postMessage("ready");
}
