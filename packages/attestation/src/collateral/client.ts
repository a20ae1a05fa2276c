import { parsePem } from "@entresol/evidence";
import { MalformedError } from "@entresol/wire";
import { isoTime } from "../context.ts";
import { EvidenceError } from "../errors.ts";
import { plainBytes } from "../submission/text-forms.ts";
import { type CollateralRequest, publicServices, type ServiceBases } from "./services.ts";
import { type CollateralStore, MemoryStore, type StoredAnswer } from "./store.ts";
import { windowOf } from "./windows.ts";

/** What of a response is used: that of the platform's own `fetch`, or of anything in its place, such as a proxy's. */
export interface FetchedResponse {
  readonly status: number;
  readonly headers: { get(name: string): string | null };
  readonly body: {
    getReader(): {
      read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }>;
      cancel(): Promise<unknown>;
    };
  } | null;
}
export type Fetch = (
  url: string,
  init: {
    readonly headers: Readonly<Record<string, string>>;
    readonly signal: AbortSignal;
    /** Nobody is to be sent elsewhere. */
    readonly redirect: "error";
  },
) => Promise<FetchedResponse>;

export interface CollateralClientOptions {
  /** Every request goes through it. Default: the platform's own. */
  readonly fetch?: Fetch;
  /** Default: in memory. */
  readonly store?: CollateralStore;
  /** Bases that differ from the public ones: of a caching service, or of a proxy. */
  readonly services?: Partial<ServiceBases>;
  /** Sent with every request to Intel's service, as `Ocp-Apim-Subscription-Key`. */
  readonly subscriptionKey?: string;
  /** A request may take so many milliseconds, its answer have so many bytes. */
  readonly timeout?: number;
  readonly largest?: number;
  /** So many requests for one document, when a service fails. */
  readonly attempts?: number;
  /** The longest wait that a service may impose, milliseconds; above it the request fails at once. */
  readonly longestWait?: number;
  /** An answer is asked for again when it is older, milliseconds; certificates are kept for ever. */
  readonly freshFor?: number;
  /** An old answer that is still valid is given at once, and replaced behind the caller's back. For services; a command waits. */
  readonly refreshBehind?: boolean;
  /** Nothing is asked for: only what the store has. */
  readonly offline?: boolean;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
  readonly sleep?: (milliseconds: number) => Promise<void>;
}

/** A document and where it is from. */
export interface Collected {
  readonly bytes: Uint8Array;
  /** PEM; empty for none. */
  readonly chain: Uint8Array;
  readonly url: string;
  /** stale: the service failed, and an answer of before that is still valid took its place. */
  readonly from: "service" | "store" | "stale";
}

const SECOND = 1000;
const HOUR = 3600 * SECOND;
const FIRST_PAUSE = SECOND / 2;
const NOTHING = new Uint8Array(0);

/** A failure after which it makes sense to ask again. */
class Passing extends Error {
  /** Milliseconds that the service wants to be left alone. */
  readonly pause: number | undefined;

  constructor(message: string, pause?: number) {
    super(message);
    this.pause = pause;
  }
}

/** Retry-After (RFC 9110, 10.2.3): seconds or a date; undefined for neither. */
export function retryAfter(header: string | null, now: number): number | undefined {
  if (header === null) return undefined;
  const text = header.trim();
  if (/^\d{1,9}$/.test(text)) return Number(text) * SECOND;
  // Dates of HTTP are written in one way; Date.parse would take numbers and words for others.
  const date = /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]{8} GMT$/.test(text)
    ? Date.parse(text)
    : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

async function readBody({ body }: FetchedResponse, largest: number): Promise<Uint8Array> {
  if (body === null) return NOTHING;
  const reader = body.getReader();
  const parts: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (value === undefined) continue;
    length += value.length;
    if (length > largest) {
      await reader.cancel();
      throw new EvidenceError("unavailable", `the answer has more than ${largest} bytes`);
    }
    parts.push(value);
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/**
 * Asks AMD's and Intel's services for what verification needs. Answers are kept; an answer that ran out is never given. A service is asked
 * for one document at a time, and left alone for as long as it says (429, 503 with Retry-After). Nothing that comes is trusted here: it is
 * only looked at, that it is what was asked for.
 */
export class CollateralClient {
  readonly #fetch: Fetch;
  readonly #store: CollateralStore;
  readonly #services: ServiceBases;
  readonly #options: CollateralClientOptions;
  readonly #now: () => number;
  readonly #sleep: (milliseconds: number) => Promise<void>;
  /** Requests under way, by URL. */
  readonly #running = new Map<string, Promise<StoredAnswer>>();
  /** The end of the last request to each origin. */
  readonly #queues = new Map<string, Promise<unknown>>();
  /** Until when origins want to be left alone. */
  readonly #pauses = new Map<string, number>();

  constructor(options: CollateralClientOptions = {}) {
    this.#options = options;
    this.#fetch = options.fetch ?? ((url, init) => fetch(url, init));
    this.#store = options.store ?? new MemoryStore();
    this.#services = { ...publicServices, ...options.services };
    this.#now = options.now ?? Date.now;
    this.#sleep =
      options.sleep ?? ((milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds)));
  }

  /**
   * The document, valid at `at`. Throws `EvidenceError` `unavailable` when there is none, with what the service said.
   */
  async collect(request: CollateralRequest, at: number = this.#now()): Promise<Collected> {
    const url = `${this.#services[request.service].replace(/\/+$/, "")}${request.path}`;
    const kept = await this.#kept(request, url, at);
    const { freshFor = 6 * HOUR, refreshBehind = false, offline = false } = this.#options;
    const fresh = kept !== undefined && (request.role === "certificate" || this.#now() - kept.at <= freshFor);
    if (kept !== undefined && (fresh || offline)) return { ...kept, from: "store" };
    if (offline)
      throw new EvidenceError("unavailable", `${url}: not in the store, and nothing may be asked for`);
    if (kept !== undefined && refreshBehind) {
      this.#ask(request, url, at).catch(() => {});
      return { ...kept, from: "stale" };
    }
    try {
      return { ...(await this.#ask(request, url, at)), from: "service" };
    } catch (error) {
      if (kept !== undefined && error instanceof EvidenceError) return { ...kept, from: "stale" };
      throw error;
    }
  }

  async #kept(request: CollateralRequest, url: string, at: number): Promise<StoredAnswer | undefined> {
    const answer = await this.#store.get(url).catch(() => undefined);
    return answer !== undefined && this.#fault(request, answer, at) === undefined ? answer : undefined;
  }

  /** What is wrong with an answer, in words. */
  #fault({ role }: CollateralRequest, { bytes, chain }: StoredAnswer, at: number): string | undefined {
    try {
      const window = windowOf(role, bytes);
      if (chain.length > 0) parsePem(chain);
      if (window === undefined) return "it does not say until when it is valid";
      if (at < window.from || at > window.to)
        return `it is valid from ${isoTime(window.from)} to ${isoTime(window.to)}, not at ${isoTime(at)}`;
      return undefined;
    } catch (error) {
      if (error instanceof MalformedError) return `it is no ${role}: ${error.message}`;
      throw error;
    }
  }

  /** One request a document, however many want it; one after the other to a service. */
  #ask(request: CollateralRequest, url: string, at: number): Promise<StoredAnswer> {
    const running = this.#running.get(url);
    if (running !== undefined) return running;
    const { origin } = new URL(url);
    const before = this.#queues.get(origin) ?? Promise.resolve();
    const asking = before
      .catch(() => {})
      .then(() => this.#askUntilItAnswers(request, url, at))
      .finally(() => {
        this.#running.delete(url);
        if (this.#queues.get(origin) === asking) this.#queues.delete(origin);
      });
    this.#running.set(url, asking);
    this.#queues.set(origin, asking);
    return asking;
  }

  async #askUntilItAnswers(request: CollateralRequest, url: string, at: number): Promise<StoredAnswer> {
    const { attempts = 3, longestWait = 30 * SECOND } = this.#options;
    const { origin } = new URL(url);
    for (let attempt = 1; ; attempt++) {
      const until = await this.#pauseOf(origin);
      const pause = until - this.#now();
      if (pause > longestWait)
        throw new EvidenceError("unavailable", `${origin} wants to be left alone until ${isoTime(until)}`);
      if (pause > 0) await this.#sleep(pause);
      try {
        const answer = await this.#askOnce(request, url);
        const fault = this.#fault(request, answer, at);
        if (fault !== undefined)
          throw new EvidenceError("unavailable", `${url} gave something else: ${fault}`);
        await this.#store.set(answer).catch(() => {});
        return answer;
      } catch (error) {
        if (!(error instanceof Passing)) throw error;
        if (error.pause !== undefined) await this.#setPause(origin, this.#now() + error.pause);
        if (attempt >= attempts) throw new EvidenceError("unavailable", `${url}: ${error.message}`);
        if (error.pause === undefined) await this.#sleep(FIRST_PAUSE * 2 ** (attempt - 1));
      }
    }
  }

  async #pauseOf(origin: string): Promise<number> {
    const shared = await this.#store.pauseOf?.(origin).catch(() => undefined);
    return Math.max(this.#pauses.get(origin) ?? 0, shared ?? 0);
  }

  async #setPause(origin: string, until: number): Promise<void> {
    this.#pauses.set(origin, until);
    await this.#store.setPause?.(origin, until).catch(() => {});
  }

  async #askOnce(request: CollateralRequest, url: string): Promise<StoredAnswer> {
    const { timeout = 15 * SECOND, largest = 4 << 20, subscriptionKey } = this.#options;
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), timeout);
    try {
      const response = await this.#fetch(url, {
        headers: {
          accept: "*/*",
          ...(request.service === "pcs" &&
            subscriptionKey !== undefined && { "Ocp-Apim-Subscription-Key": subscriptionKey }),
        },
        signal: abort.signal,
        redirect: "error",
      });
      const { status, headers } = response;
      if (status === 429 || status === 503)
        throw new Passing(
          `the service is busy (${status})`,
          retryAfter(headers.get("retry-after"), this.#now()),
        );
      if (status >= 500) throw new Passing(`the service failed (${status})`);
      if (status !== 200) throw new EvidenceError("unavailable", `${url}: the service answered ${status}`);
      const bytes = await readBody(response, largest);
      return { url, at: this.#now(), bytes: plainOf(request, bytes), chain: chainOf(request, headers) };
    } catch (error) {
      if (error instanceof Passing) throw error;
      if (error instanceof EvidenceError)
        throw error.message.startsWith(url)
          ? error
          : new EvidenceError("unavailable", `${url}: ${error.message}`);
      if (error instanceof MalformedError)
        throw new EvidenceError("unavailable", `${url} gave something else: ${error.message}`);
      throw new Passing(
        abort.signal.aborted ? `no answer within ${timeout} ms` : `it cannot be reached (${reasonOf(error)})`,
      );
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Caching services give lists and certificates in hexadecimal or PEM. JSON stays as it is: it is signed. */
function plainOf({ role }: CollateralRequest, bytes: Uint8Array): Uint8Array {
  if (role === "tcb-info" || role === "qe-identity" || role === "tcb-signers") return bytes;
  return plainBytes(bytes).blocks[0]?.data ?? NOTHING;
}

function chainOf({ chainHeaders }: CollateralRequest, headers: FetchedResponse["headers"]): Uint8Array {
  for (const name of chainHeaders) {
    const value = headers.get(name);
    if (value === null) continue;
    try {
      return new TextEncoder().encode(decodeURIComponent(value));
    } catch {
      throw new EvidenceError("unavailable", `the header ${name} cannot be read`);
    }
  }
  return NOTHING;
}

/** Platforms hide the reason of a failed request in its cause. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  return cause instanceof Error && cause.message !== "" ? cause.message : error.message;
}
