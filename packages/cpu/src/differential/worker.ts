import { parentPort, workerData } from "node:worker_threads";
import { Session, type SessionOptions } from "./session.ts";

/** A worker of campaign.ts: one session; each message is a range of cases, each answer its tally. */
if (parentPort !== null) {
  const port = parentPort;
  const session = await Session.create(workerData as SessionOptions);
  const handle = async (message: { from: number; count: number } | "close") => {
    if (message === "close") {
      session.close();
      port.close();
    } else {
      port.postMessage({ from: message.from, ...(await session.run(message.from, message.count)) });
    }
  };
  // One after the other: "close" may come while a range is under way.
  let last = Promise.resolve();
  port.on("message", (message) => {
    last = last.then(() => handle(message));
  });
  port.postMessage("ready");
}
