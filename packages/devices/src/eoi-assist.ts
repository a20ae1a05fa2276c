import type { InterruptQueue } from "./interrupt-queue.ts";

/**
 * Where a guest and its local APIC agree that an EOI may be left out: bit 0 of a word that both can reach, "no EOI required", as
 * the VP assist page of Hyper-V's TLFS ("EOI Assist") and the calling area of an SVSM have it. The layer that knows the page gives
 * one of these to `LocalApic.setEoiAssist`. A guest ends an interrupt by clearing the flag if it is set, else by writing EOI.
 *
 * All of it is answered within the call. Where the guest runs at the same time, `withdraw` must be one atomic exchange: its answer
 * says who came first.
 */
export interface EoiAssist {
  /** Sets the flag. False when the guest has nowhere to find it: the EOI will be written. */
  offer(): boolean;
  /** Is the flag still set? False is the guest's EOI. */
  standing(): boolean;
  /** Clears the flag and says whether it was still set. False is the guest's EOI; true means that the EOI will be written. */
  withdraw(): boolean;
}

/** The offer of one local APIC to one guest: at most one stands, for what is alone in service. */
export class EoiOffer {
  /** The guest has been told that it may leave out the EOI of what is in service; what it has done since is to be asked. */
  standing = false;
  readonly #queue: InterruptQueue;
  #assist: EoiAssist | undefined;

  constructor(queue: InterruptQueue) {
    this.#queue = queue;
  }

  use(assist: EoiAssist | undefined): void {
    // After a restore there is none yet that could be asked: the new one knows.
    if (this.#assist !== undefined) this.withdraw();
    this.#assist = assist;
  }

  /** An interrupt was delivered: offers to leave out its EOI where that would change nothing but ISR. */
  make(): void {
    if (this.#queue.endsUnnoticed) this.standing = this.#assist?.offer() ?? false;
  }

  /** Somebody looks: a guest that has cleared the flag has ended its interrupt. */
  notice(): void {
    if (!this.standing || (this.#assist?.standing() ?? true)) return;
    this.standing = false;
    this.#queue.finish();
  }

  /** Something has come that waits for the EOI. Without a flag that could be asked it is still to be written. */
  withdraw(): void {
    if (!this.standing) return;
    this.standing = false;
    if (!(this.#assist?.withdraw() ?? true)) this.#queue.finish();
  }
}
