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

/** Puts the terminal into raw mode and hands keys to `onKeys`. The returned function puts it back; so does the process's end, however it comes. */
export function rawTerminal(onKeys: (bytes: Uint8Array) => void): () => void {
  const { stdin } = process;
  const restore = (): void => {
    if (stdin.isTTY) stdin.setRawMode(false);
  };
  const endBySignal = (signal: NodeJS.Signals): void => {
    restore();
    process.removeListener(signal, endBySignal);
    process.kill(process.pid, signal);
  };
  const signals: readonly NodeJS.Signals[] = ["SIGTERM", "SIGHUP"];
  const listener = (chunk: Buffer): void => onKeys(chunk);
  if (stdin.isTTY) stdin.setRawMode(true);
  stdin.on("data", listener);
  stdin.resume();
  process.on("exit", restore);
  for (const signal of signals) process.on(signal, endBySignal);
  return () => {
    restore();
    stdin.removeListener("data", listener);
    stdin.pause();
    process.removeListener("exit", restore);
    for (const signal of signals) process.removeListener(signal, endBySignal);
  };
}
