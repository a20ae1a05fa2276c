import { type MessagePort, workerData } from "node:worker_threads";
import { type KeySearch, nodeProvider, searchKey } from "@entresol/tpm";

/* The other thread of key-search-thread.ts: one search, and it ends. */

const { search, port, progress } = workerData as {
  readonly search: KeySearch;
  readonly port: MessagePort;
  readonly progress: Int32Array;
};
Atomics.store(progress, 0, 1);
Atomics.notify(progress, 0);
port.postMessage(searchKey(nodeProvider, search));
port.close();
Atomics.store(progress, 0, 2);
Atomics.notify(progress, 0);
