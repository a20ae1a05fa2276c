import { toHex } from "@entresol/wire";
import type { CheckResult, Place } from "../check.ts";
import { isNamed } from "./check-ids.ts";

/** One demand of a policy, held against the evidence. */
export interface Reason {
  /** JSON pointer of the policy's member, "/snp/guestPolicy/debug". */
  readonly rule: string;
  /** False for what does not hold, and for what is not known. */
  readonly holds: boolean;
  /** The check that would tell did not run: nothing is wrong with the evidence, but it does not do either. */
  readonly unknown: boolean;
  /** What is demanded and what was found, in words. */
  readonly detail: string;
  /** The bytes that decide. */
  readonly places: readonly Place[];
  /** Clause that says what the bytes mean. */
  readonly spec: string;
  /** The check of the verification that established what was found. */
  readonly check: string;
}

export type Flag = "required" | "forbidden" | "any";

/** Where a fact comes from: the bytes, their clause, and the check that vouches for them. */
export interface Source {
  readonly places: readonly Place[];
  readonly spec: string;
  readonly check: string;
}

/** Images of a policy: a name, and measurements in hexadecimal by the names of the report's fields. */
interface ImagePolicy {
  readonly images?:
    | readonly (Readonly<Record<string, string | undefined>> & { readonly name: string })[]
    | undefined;
  readonly measurementsFrom?: readonly string[] | undefined;
}

/** Collects reasons. A rule that demands nothing gives none. */
export class Rules {
  readonly reasons: Reason[] = [];
  /** Hosts, or debuggers, can look into the memory of what is attested. */
  debuggable = false;
  readonly #mayBeSkipped: readonly string[];
  readonly #notRun: ReadonlySet<string>;

  /** `mayBeSkipped`: checks that the policy lets pass without a result. `checks`: what the verification found. */
  constructor(mayBeSkipped: readonly string[] = [], checks: readonly CheckResult[] = []) {
    this.#mayBeSkipped = mayBeSkipped;
    this.#notRun = new Set(checks.filter(({ result }) => result === "not-run").map(({ id }) => id));
  }

  /** True when the check did not run: what it would vouch for may be anything, whoever supplied it. */
  isUnproven(check: string): boolean {
    return this.#notRun.has(check);
  }

  mayBeSkipped(check: string): boolean {
    return isNamed(this.#mayBeSkipped, check);
  }

  add(rule: string, holds: boolean, detail: string, { places, spec, check }: Source): void {
    this.reasons.push({ rule, holds, unknown: false, detail, places, spec, check });
  }

  /** What is demanded cannot be told, since a check did not run. */
  open(rule: string, detail: string, { places, spec, check }: Source): void {
    this.reasons.push({ rule, holds: false, unknown: true, detail, places, spec, check });
  }

  flag(rule: string, wanted: Flag, found: boolean, name: string, source: Source): void {
    if (wanted === "any") return;
    const holds = found === (wanted === "required");
    this.add(rule, holds, `${name} is ${found ? "on" : "off"}, and ${wanted}`, source);
  }

  /** Any of the listed values, hexadecimal in small letters. */
  oneOf(
    rule: string,
    wanted: readonly string[] | undefined,
    found: Uint8Array,
    name: string,
    source: Source,
  ): void {
    if (wanted === undefined) return;
    const value = toHex(found);
    const holds = wanted.includes(value);
    this.add(
      rule,
      holds,
      holds ? `${name} is ${value}` : `${name} is ${value}, none of the ${wanted.length} that are listed`,
      source,
    );
  }

  /** One of the images fits in every measurement that it has, and it has one at least. */
  image(
    base: string,
    { images, measurementsFrom }: ImagePolicy,
    found: Readonly<Record<string, Uint8Array>>,
    source: Source,
  ): void {
    if (images !== undefined) {
      const fitting = images.find((image) => {
        const measured = Object.entries(image).filter(([member]) => member !== "name");
        return (
          measured.length > 0 &&
          measured.every(([member, value]) => value === toHex(found[member] ?? new Uint8Array(0)))
        );
      });
      this.add(
        `${base}/images`,
        fitting !== undefined,
        fitting === undefined
          ? `none of ${images.map(({ name }) => name).join(", ")} was launched: ${Object.entries(found)
              .map(([member, value]) => `${member} is ${toHex(value)}`)
              .join(", ")}`
          : `${fitting.name} was launched`,
        source,
      );
    }
    if (measurementsFrom !== undefined)
      this.open(
        `${base}/measurementsFrom`,
        `the reference values of ${measurementsFrom.join(", ")} are not given`,
        source,
      );
  }

  listed<T>(
    rule: string,
    wanted: readonly T[] | undefined,
    found: T | undefined,
    name: string,
    source: Source,
  ): void {
    if (wanted === undefined) return;
    const holds = found !== undefined && wanted.includes(found);
    this.add(
      rule,
      holds,
      `${name} is ${String(found ?? "not known")}${holds ? "" : `, not ${wanted.join(" or ")}`}`,
      source,
    );
  }

  atLeast(
    rule: string,
    wanted: number | undefined,
    found: number | undefined,
    name: string,
    source: Source,
  ): void {
    if (wanted === undefined) return;
    const holds = found !== undefined && found >= wanted;
    this.add(
      rule,
      holds,
      `${name} is ${found ?? "absent"}${holds ? "" : `, ${wanted - (found ?? 0)} below the ${wanted} that is demanded`}`,
      source,
    );
  }

  allowed(rule: string, wanted: "allowed" | "refused", found: boolean, detail: string, source: Source): void {
    if (wanted === "refused" || found) this.add(rule, !found || wanted === "allowed", detail, source);
  }
}
