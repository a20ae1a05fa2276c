import { nodeProvider, searchKey } from "@entresol/tpm";
import type { KeySearcher } from "../key-search-thread.ts";

/** Searches for keys that are over when a test says so. */
export class HeldSearches {
  readonly outcomes: ("searching" | "canceled" | "found")[] = [];
  readonly #found: (() => void)[] = [];

  readonly begin: KeySearcher = (search) => {
    const index = this.outcomes.push("searching") - 1;
    const key = () => searchKey(nodeProvider, search);
    return {
      poll: () => (this.outcomes[index] === "found" ? key() : undefined),
      wait: key,
      whenFound: (tell) => {
        this.#found[index] = () => tell(key());
      },
      cancel: () => {
        this.outcomes[index] = "canceled";
      },
    };
  };

  /** The last search is over. */
  end(): void {
    const index = this.outcomes.length - 1;
    this.outcomes[index] = "found";
    this.#found[index]?.();
  }
}
