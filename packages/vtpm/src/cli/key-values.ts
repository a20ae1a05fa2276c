import { CommandError, EXIT_USAGE } from "./exit-status.ts";

/** swtpm's sub-options: "type=unixio,path=/run/x,mode=0600,terminate". A word alone has the value "". */
export class KeyValues {
  readonly #option: string;
  readonly #values: Map<string, string>;

  /** Throws `CommandError` for a name that is not among `names`, or is there twice. */
  constructor(option: string, text: string, names: readonly string[]) {
    this.#option = option;
    this.#values = new Map();
    for (const part of text.split(",")) {
      const [, name = "", value = ""] = /^([^=]*)=?(.*)$/s.exec(part) ?? [];
      if (!names.includes(name)) throw this.fault(`does not know "${name}"; it takes ${names.join(", ")}`);
      if (this.#values.has(name)) throw this.fault(`has "${name}" twice`);
      this.#values.set(name, value);
    }
  }

  fault(why: string): CommandError {
    return new CommandError(EXIT_USAGE, `${this.#option} ${why}`);
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }

  /** Undefined when it is not there. Throws for an empty one. */
  text(name: string): string | undefined {
    const value = this.#values.get(name);
    if (value === "") throw this.fault(`needs a value for "${name}"`);
    return value;
  }

  /** One of some words; the first when it is not there. */
  choice<const W extends string>(name: string, ...words: readonly [W, ...W[]]): W {
    const value = this.text(name) ?? words[0];
    const word = words.find((known) => known === value);
    if (word === undefined) throw this.fault(`has ${name}=${value}; it can be ${words.join(", ")}`);
    return word;
  }

  /** A whole number up to `most`. */
  number(name: string, most: number): number | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    const number = /^\d{1,10}$/.test(value) ? Number(value) : Number.NaN;
    if (!(number <= most)) throw this.fault(`has ${name}=${value}; it is a number up to ${most}`);
    return number;
  }

  /** Permission bits in octal, with a leading 0. */
  mode(fallback: number): number {
    const value = this.text("mode");
    if (value === undefined) return fallback;
    if (!/^0[0-7]{1,4}$/.test(value)) throw this.fault(`has mode=${value}; it is octal, such as 0600`);
    return Number.parseInt(value, 8);
  }

  /** A word alone, "=true" or "=false". */
  flag(name: string): boolean {
    const value = this.#values.get(name);
    if (value === undefined || value === "false") return false;
    if (value === "" || value === "true") return true;
    throw this.fault(`has ${name}=${value}; it can be true or false`);
  }
}
