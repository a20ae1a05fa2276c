/** No locality is active: the TPM belongs to whoever asks first. */
export const noLocality = -1;
export const localityCount = 5;

/** What the arbiter asks of the interface that it is part of. */
export interface ArbiterHooks {
  /** Does a command run? Then the active locality changes only when that has ended. */
  readonly executing: () => boolean;
  /** The command that runs shall end, and nobody gets its response. `settled` is called behind it. */
  readonly abort: () => void;
  /** The active locality is another one now. */
  readonly changed: (from: number, to: number) => void;
}

/** Of an arbiter. Masks have bit n for locality n. */
export interface ArbiterState {
  readonly active: number;
  readonly requests: number;
  readonly seized: number;
  readonly pending: number;
}

/** Nothing waits; the active locality gives itself up when its command has ended. Else: the locality that seizes then. */
const Pending = { nothing: -2, relinquish: -1 } as const;

/**
 * Which locality a TPM listens to (PTP 1.05): one at a time. A locality asks and waits until the active one lets go, where the highest of
 * those that wait is next; or it takes the TPM away from a lower one. A command that runs for the one that loses is aborted first.
 */
export class LocalityArbiter {
  readonly #hooks: ArbiterHooks;
  #active = noLocality;
  #requests = 0;
  #seized = 0;
  #pending: number = Pending.nothing;

  constructor(hooks: ArbiterHooks) {
    this.#hooks = hooks;
  }

  /** 0 to 4, or `noLocality`. */
  get active(): number {
    return this.#active;
  }

  /** Will another locality be active, or none, when the command that runs has ended? */
  get changing(): boolean {
    return this.#pending !== Pending.nothing;
  }

  /** Does the locality wait? */
  requests(locality: number): boolean {
    return ((this.#requests >>> locality) & 1) !== 0;
  }

  /** Does another one than the locality wait? */
  othersRequest(locality: number): boolean {
    return (this.#requests & ~(1 << locality)) !== 0;
  }

  /** Was the TPM taken away from the locality? Until it takes note. */
  wasSeized(locality: number): boolean {
    return ((this.#seized >>> locality) & 1) !== 0;
  }

  clearSeized(locality: number): void {
    this.#seized &= ~(1 << locality);
  }

  request(locality: number): void {
    if (this.#active === locality && this.#pending === Pending.nothing) return;
    if (this.#active === noLocality) this.#switch(locality);
    else this.#requests |= 1 << locality;
  }

  /** Gives the TPM up, or a request for it. */
  relinquish(locality: number): void {
    this.#requests &= ~(1 << locality);
    // Who is taken away from cannot change that any more.
    if (this.#active === locality && this.#pending === Pending.nothing) this.#leave(Pending.relinquish);
  }

  /** Without effect unless the locality is higher than the active one, and than another that seizes. */
  seize(locality: number): void {
    if (locality <= this.#active || locality <= this.#pending) return;
    if (this.#active === noLocality) this.#switch(locality);
    else this.#leave(locality);
  }

  #leave(pending: number): void {
    const aborting = this.#pending !== Pending.nothing;
    this.#pending = pending;
    if (!this.#hooks.executing()) this.settled();
    else if (!aborting) this.#hooks.abort();
  }

  /** The command that ran has ended. */
  settled(): void {
    const pending = this.#pending;
    if (pending === Pending.nothing) return;
    this.#pending = Pending.nothing;
    if (pending === Pending.relinquish) {
      this.#switch(31 - Math.clz32(this.#requests));
      return;
    }
    this.#seized |= 1 << this.#active;
    this.#switch(pending);
  }

  #switch(to: number): void {
    const from = this.#active;
    this.#active = to;
    if (to !== noLocality) this.#requests &= ~(1 << to);
    this.#hooks.changed(from, to);
  }

  reset(): void {
    this.put({ active: noLocality, requests: 0, seized: 0, pending: Pending.nothing });
  }

  save(): ArbiterState {
    return {
      active: this.#active,
      requests: this.#requests,
      seized: this.#seized,
      pending: this.#pending,
    };
  }

  /** Puts `save`'s result back; `changed` is not called. */
  put(state: ArbiterState): void {
    this.#active = state.active;
    this.#requests = state.requests;
    this.#seized = state.seized;
    this.#pending = state.pending;
  }
}
