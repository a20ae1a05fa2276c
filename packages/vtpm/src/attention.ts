import { availableParallelism } from "node:os";

/**
 * A process that sleeps until its next command is woken in 25 to 50 microseconds, several times what a short command takes. So after a response the event
 * loop looks for the next command without sleeping, for a moment; and only where the client has been quick before, so that a processor is not
 * kept busy for one that thinks, or that is a machine in its boot.
 */
export interface AttentionOptions {
  /** Milliseconds from any start. */
  readonly now?: () => number;
  /** Runs an action in the next turn of the event loop, after it has looked at the sockets. */
  readonly nextTurn?: (action: () => void) => void;
  /** Can the client run while this process is awake? */
  readonly otherProcessors?: boolean;
}

/** Milliseconds that the next command is awaited for without sleep. */
const PATIENCE = 0.1;
/** A client is quick when its command came this soon after the response before: the time that it takes to wake it and this process is in it. */
const QUICK = 0.2;

/** When to stay awake for one client. */
export class Attention {
  readonly #now: () => number;
  readonly #nextTurn: (action: () => void) => void;
  readonly #possible: boolean;
  #answered = Number.NEGATIVE_INFINITY;
  #quick = false;
  #awake = false;
  readonly #look = (): void => {
    if (this.#quick && this.#now() - this.#answered < PATIENCE) this.#nextTurn(this.#look);
    else this.#awake = false;
  };

  constructor(options: AttentionOptions = {}) {
    this.#now = options.now ?? (() => performance.now());
    this.#nextTurn = options.nextTurn ?? setImmediate;
    this.#possible = options.otherProcessors ?? availableParallelism() > 1;
  }

  /** A command has come. */
  commandCame(): void {
    this.#quick = this.#possible && this.#now() - this.#answered < QUICK;
  }

  /** Its response has been sent. */
  responseSent(): void {
    this.#answered = this.#now();
    if (!this.#quick || this.#awake) return;
    this.#awake = true;
    this.#nextTurn(this.#look);
  }

  /** The client is gone: nothing more is awaited. */
  end(): void {
    this.#quick = false;
  }
}
