import { MessageChannel, receiveMessageOnPort, Worker } from "node:worker_threads";
import { type KeySearch, nodeProvider, type RsaPrivate, searchKey } from "@entresol/tpm";

/** A search that is made elsewhere. Whoever began it asks now and then, waits, or is told: one of the three. */
export interface KeySearchInProgress {
  /** The key, once it was found. */
  poll(): RsaPrivate | undefined;
  /** Stands still until it is found. */
  wait(): RsaPrivate;
  /** Tells it, later; nothing after `cancel`. */
  whenFound(tell: (key: RsaPrivate) => void): void;
  /** Nobody wants the key any more. */
  cancel(): void;
}

/** Begins a search. */
export type KeySearcher = (search: KeySearch) => KeySearchInProgress;

/** In words of `progress`: nothing was heard of the thread; it searches; the key is at the port. */
const Progress = { none: 0, searching: 1, found: 2 } as const;
/** A thread that is not there after that many ms does not come. */
const THREAD_START = 10_000;
/** A search that takes longer has no thread any more: those of the longest keys take some seconds. */
const SEARCH = 120_000;

/**
 * Searches on a thread of its own, which ends with the search: what long keys cost in time is much more than a thread does, and the memory is
 * free again. Without a thread (the system may refuse one) the search is made by whoever asks for its result.
 */
export function searchOnThread(search: KeySearch, program = WORKER): KeySearchInProgress {
  const { port1: port, port2 } = new MessageChannel();
  const progress = new Int32Array(new SharedArrayBuffer(4));
  let worker: Worker | undefined;
  let canceled = false;
  /** The thread has ended, with the key at the port or without: it may have found no memory. */
  let gone = false;
  try {
    worker = new Worker(program, { workerData: { search, port: port2, progress }, transferList: [port2] });
    worker.unref();
    // Without somebody who listens this would end the process.
    worker.once("error", () => {
      gone = true;
    });
    worker.once("exit", () => {
      gone = true;
    });
  } catch {
    port2.close();
  }
  port.unref();
  const end = (): void => {
    port.close();
    void worker?.terminate();
  };
  const itself = (): RsaPrivate => searchKey(nodeProvider, search);
  const poll = (): RsaPrivate | undefined => {
    const received = receiveMessageOnPort(port) as { readonly message: RsaPrivate } | undefined;
    if (received !== undefined) end();
    return received?.message;
  };
  return {
    poll: () => (worker === undefined ? itself() : (poll() ?? (gone ? itself() : undefined))),
    wait() {
      if (worker === undefined) return itself();
      Atomics.wait(progress, 0, Progress.none, THREAD_START);
      if (Atomics.load(progress, 0) === Progress.none) {
        end();
        return itself();
      }
      Atomics.wait(progress, 0, Progress.searching, SEARCH);
      return poll() ?? itself();
    },
    whenFound(tell) {
      let told = false;
      const once = (key: () => RsaPrivate): void => {
        if (told || canceled) return;
        told = true;
        end();
        tell(key());
      };
      if (worker === undefined) {
        setImmediate(once, itself);
        return;
      }
      worker.ref();
      port.once("message", (key: RsaPrivate) => once(() => key));
      worker.once("error", () => once(itself));
      // The port's message may come after the thread's end.
      worker.once("exit", () => setImmediate(() => once(() => poll() ?? itself())));
    },
    cancel() {
      canceled = true;
      end();
    },
  };
}

/** Beside this file when both were compiled or bundled. */
const WORKER = new URL("./key-search-worker.js", import.meta.url);
