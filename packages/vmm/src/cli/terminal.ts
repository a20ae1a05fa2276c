/** Ctrl-A, the prefix of the console's own commands. */
const PREFIX = 0x01;

export interface ConsoleKeys {
  /** Bytes for the guest. */
  input(bytes: Uint8Array): void;
  leave(): void;
  snapshot(): void;
  inspect(): void;
  help(): void;
}

/** Splits what is typed into bytes for the guest and the commands behind Ctrl-A. Ctrl-A twice sends one Ctrl-A. */
export class KeyFilter {
  readonly #keys: ConsoleKeys;
  #prefixed = false;

  constructor(keys: ConsoleKeys) {
    this.#keys = keys;
  }

  push(bytes: Uint8Array): void {
    const plain: number[] = [];
    for (const byte of bytes) {
      if (!this.#prefixed) {
        if (byte === PREFIX) this.#prefixed = true;
        else plain.push(byte);
        continue;
      }
      this.#prefixed = false;
      switch (String.fromCharCode(byte).toLowerCase()) {
        case "x":
          this.#send(plain);
          this.#keys.leave();
          return;
        case "s":
          this.#keys.snapshot();
          break;
        case "i":
          this.#keys.inspect();
          break;
        case "\x01":
        case "a":
          plain.push(PREFIX);
          break;
        default:
          this.#keys.help();
      }
    }
    this.#send(plain);
  }

  #send(plain: number[]): void {
    if (plain.length > 0) this.#keys.input(Uint8Array.from(plain.splice(0)));
  }
}

/** Signals that end the process and would leave the terminal raw. */
const endingSignals: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"];

/**
 * Puts the terminal into raw mode and hands keys to `onKeys`; `onEnd` hears that there is nobody at the keyboard any more. The
 * returned function puts the terminal back; so does the process's end, however it comes, and its being stopped.
 */
export function rawTerminal(onKeys: (bytes: Uint8Array) => void, onEnd: () => void): () => void {
  const { stdin } = process;
  const setRaw = (raw: boolean): void => {
    try {
      if (stdin.isTTY) stdin.setRawMode(raw);
    } catch {
      // The terminal is gone: nothing to put back.
    }
  };
  const restore = (): void => setRaw(false);
  const endBySignal = (signal: NodeJS.Signals): void => {
    restore();
    process.removeListener(signal, endBySignal);
    process.kill(process.pid, signal);
  };
  // A shell that goes on while this process is stopped wants its terminal as it was.
  const stopBySignal = (): void => {
    restore();
    process.kill(process.pid, "SIGSTOP");
  };
  const goOn = (): void => setRaw(true);
  const listener = (chunk: Buffer): void => onKeys(chunk);
  setRaw(true);
  stdin.on("data", listener);
  stdin.on("end", onEnd);
  stdin.on("error", onEnd);
  stdin.resume();
  process.on("exit", restore);
  for (const signal of endingSignals) process.on(signal, endBySignal);
  process.on("SIGTSTP", stopBySignal);
  process.on("SIGCONT", goOn);
  return () => {
    restore();
    stdin.removeListener("data", listener);
    stdin.removeListener("end", onEnd);
    stdin.pause();
    process.removeListener("exit", restore);
    for (const signal of endingSignals) process.removeListener(signal, endBySignal);
    process.removeListener("SIGTSTP", stopBySignal);
    process.removeListener("SIGCONT", goOn);
  };
}
