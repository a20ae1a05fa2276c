import type { Vcpu } from "@entresol/hypervisor";

/** Why a VM stopped. A closed union: end every switch over `kind` in `never`. */
export type VmStop =
  | { readonly kind: "power-off" }
  | { readonly kind: "reset" }
  | { readonly kind: "paused" }
  /** A test kernel wrote its result, 0 to 2^32 - 1, to the test device. */
  | { readonly kind: "test-exit"; readonly value: number }
  | { readonly kind: "crashed"; readonly vcpu: number; readonly detail: string }
  | { readonly kind: "halted"; readonly detail: string }
  | { readonly kind: "host-violation"; readonly rule: string; readonly detail: string };

/** Through this the devices and the host reach a run that is under way: to end its slice, its wait, or all of it. */
export class RunControl {
  /** The vCPU whose slice is under way; the run loop sets it. */
  current: Vcpu | undefined;
  #stop: VmStop | undefined;
  #wake: () => void = () => {};
  #woken = this.#newWake();

  /** Why the run is to end; undefined while it goes on. */
  get stop(): VmStop | undefined {
    return this.#stop;
  }

  /** The first reason to stop is the one that counts. */
  finish(stop: VmStop): void {
    this.#stop ??= stop;
    this.wakeUp();
  }

  /** A new run may start. */
  clearStop(): void {
    this.#stop = undefined;
  }

  /** Ends the slice that is under way. */
  kick(): void {
    this.current?.kick();
  }

  /** Something happened that vCPU `index` may have to act on: if another one is running, it gives way. */
  disturb(index: number): void {
    if (this.current !== undefined && this.current.index !== index) this.current.kick();
  }

  /** Resolves when something has come in that a wait must not outlast. */
  get woken(): Promise<void> {
    return this.#woken;
  }

  wakeUp(): void {
    this.#wake();
    this.renewWake();
    this.kick();
  }

  /** What has waited for the old promise does not wait any more, or has been woken. */
  renewWake(): void {
    this.#woken = this.#newWake();
  }

  #newWake(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
