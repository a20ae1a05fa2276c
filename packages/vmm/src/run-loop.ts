import type { Stop, Vcpu } from "@entresol/hypervisor";
import type { Hardware } from "./hardware.ts";
import type { RunControl, VmStop } from "./run-control.ts";

/**
 * Guest time that a vCPU runs before the others and the host have their turn, in ns. It bounds how long a guest can keep the host
 * waiting that makes each of its instructions cost a microsecond or more, by faults or accesses to devices.
 */
const SLICE = 10_000;
/** The same for a vCPU that is alone, in ns: nobody waits for its turn but the host. */
const SLICE_ALONE = 50_000;
/** Wall-clock time between two looks at the host's event loop, in ms. */
const HOST_TURN = 8;
/** Guest time after which output is handed on, in ns. Counted in guest time, so that who answers output answers at the same moment in every run. */
const OUTPUT_INTERVAL = 1_000_000;
/** Guest time up to which all arithmetic on it is exact, with room for what is armed beyond, in ns: 104 days. */
const END_OF_TIME = 2 ** 53 - 2 ** 42;
/** RFLAGS.IF: maskable interrupts are let in. */
const INTERRUPT_FLAG = 0x200n;

/** What the embedder is asked and told while the guest runs; see the fields of `Vm` of the same names. */
export interface RunHooks {
  onIdle(next: number): void;
  holdBack(): Promise<void> | undefined;
}

/** What the loop remembers between slices. A VM that goes on from a snapshot with it takes the turns that the other would have taken. */
export interface Schedule {
  /** Index of the vCPU that is asked first whether it can run. */
  readonly turn: number;
  /** What a pause left of a slice: the vCPU and the guest time (ns) at which its turn ends. */
  readonly unfinished: { readonly vcpu: number; readonly end: number } | null;
  /** Guest time at which output is handed on next, ns. */
  readonly nextFlush: number;
}

/** Runs the vCPUs of one VM by turns, moves time on when all are idle, and lets the host have its say in between. */
export class RunLoop {
  readonly #hardware: Hardware;
  readonly #control: RunControl;
  readonly #hooks: RunHooks;
  #running = false;
  #failed = false;
  #pauseTime = Number.POSITIVE_INFINITY;
  /** Guest time at which output is handed on next, ns. */
  #nextFlush = 0;
  /** Index of the vCPU that is asked first whether it can run. */
  #turn = 0;
  #unfinished: Schedule["unfinished"] = null;

  constructor(hardware: Hardware, control: RunControl, hooks: RunHooks) {
    this.#hardware = hardware;
    this.#control = control;
    this.#hooks = hooks;
    const { chipset, serial } = hardware;
    for (const [n, port] of serial.entries()) port.join(chipset.serial[n]!, () => control.wakeUp());
  }

  get running(): boolean {
    return this.#running;
  }

  /** Something above the guest threw in the middle of an instruction: the vCPU cannot go on. */
  get failed(): boolean {
    return this.#failed;
  }

  /** Between slices only. */
  get schedule(): Schedule {
    return { turn: this.#turn, unfinished: this.#unfinished, nextFlush: this.#nextFlush };
  }

  set schedule({ turn, unfinished, nextFlush }: Schedule) {
    this.#turn = turn;
    this.#unfinished = unfinished;
    this.#nextFlush = nextFlush;
  }

  /** Guest time (ns) at which a run ends with "paused"; holds once. Infinity: none. */
  pauseAt(time: number): void {
    this.#pauseTime = time;
  }

  /** Runs until there is a reason to stop or guest time `until` (ns) has come. Rejects with what a device or a hook throws. */
  async run(until: number): Promise<VmStop> {
    const control = this.#control;
    this.#running = true;
    if (control.stop?.kind === "paused") control.clearStop();
    try {
      while (control.stop === undefined) {
        const idle = this.#runForATurn(until);
        if (idle !== undefined) await idle;
        const held = this.#hooks.holdBack();
        // A host that does not take output must not keep the VM from being paused.
        if (held !== undefined && control.stop === undefined) await Promise.race([held, control.woken]);
        await this.#waitForEnds();
        // Else each wait would leave something behind on a promise that may live as long as the VM.
        if (idle !== undefined || held !== undefined) control.renewWake();
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
      this.#flushSerial();
      return control.stop;
    } catch (error) {
      if (control.current !== undefined) this.#failed = true;
      throw error;
    } finally {
      control.current = undefined;
      this.#running = false;
    }
  }

  /** Rests while a serial port's end is behind whose policy is that nothing is lost. */
  async #waitForEnds(): Promise<void> {
    const { serial } = this.#hardware;
    for (const port of serial) port.pumpEnd(false);
    for (const port of serial) {
      for (let held = port.held; held !== undefined; held = port.held) {
        if (this.#control.stop !== undefined) return;
        await Promise.race([held, this.#control.woken]);
        this.#control.renewWake();
      }
    }
  }

  /** Runs vCPUs in turn for about HOST_TURN ms, or until the partition has to wait: then gives what to wait for. */
  #runForATurn(until: number): Promise<void> | undefined {
    const control = this.#control;
    const { partition, chipset, dispatchers, serial } = this.#hardware;
    const { clock } = partition;
    const { wheel } = chipset;
    const slice = partition.vcpus.length === 1 ? SLICE_ALONE : SLICE;
    const turnEnd = performance.now() + HOST_TURN;
    for (let slices = 1; control.stop === undefined; slices++) {
      wheel.fireDue();
      const now = clock.now();
      const end = Math.min(until, this.#pauseTime);
      if (now >= end) {
        this.#pauseTime = Number.POSITIVE_INFINITY;
        control.finish({ kind: "paused" });
        return undefined;
      }
      if (now >= END_OF_TIME) {
        control.finish({
          kind: "halted",
          detail: "guest time has come to its end, 104 days after power-on",
        });
        return undefined;
      }
      if (now >= this.#nextFlush || serial.some((port) => port.isFull)) {
        this.#nextFlush = now + OUTPUT_INTERVAL;
        this.#flushSerial();
        if (control.stop !== undefined || serial.some((port) => port.held !== undefined)) return undefined;
      }
      const vcpu = this.#unfinishedVcpu(now) ?? this.#nextRunnable();
      if (vcpu === undefined) {
        const wait = this.#idle(until);
        if (wait !== undefined) return wait;
      } else {
        // Fixed at its start: an alarm that comes nearer kicks the vCPU, and one that goes away leaves the slice as it is.
        const sliceEnd = Math.min(this.#unfinished?.end ?? wheel.nextDeadline(), now + slice);
        this.#unfinished = null;
        control.current = vcpu;
        const stop = vcpu.run(dispatchers[vcpu.index]!, Math.min(sliceEnd, end));
        control.current = undefined;
        // A pause is nothing that the guest may notice: the vCPU has the rest of its slice before another one's turn.
        if (stop.kind === "deadline" && clock.now() < sliceEnd)
          this.#unfinished = { vcpu: vcpu.index, end: sliceEnd };
        this.#answer(vcpu, stop);
      }
      // The host's clock costs more than what an idle guest does: look at it now and then.
      if ((vcpu !== undefined || (slices & 15) === 0) && performance.now() >= turnEnd) return undefined;
    }
    return undefined;
  }

  /** No vCPU has anything to do: lets the host act, then moves time on. Gives what to wait for when time is real. */
  #idle(until: number): Promise<void> | undefined {
    const control = this.#control;
    const { partition, chipset, serial } = this.#hardware;
    if (this.#deadForEver() && !chipset.reachesHalted) {
      control.finish({ kind: "halted", detail: "every processor is halted with interrupts disabled" });
      return undefined;
    }
    this.#flushSerial();
    // At idle, not at any turn's end: so that the guest gets its input at the same guest time in every run.
    for (const port of serial) {
      port.pump();
      port.pumpEnd(true);
    }
    this.#hooks.onIdle(chipset.wheel.nextDeadline());
    // What came in may have woken a vCPU: time does not move on over its head.
    if (control.stop !== undefined || partition.vcpus.some((vcpu) => this.#canRun(vcpu))) return undefined;
    if (partition.time === "virtual") {
      const patience = serial.map((port) => port.patience).filter((promise) => promise !== undefined);
      if (patience.length > 0) return Promise.race([...patience, control.woken]);
    }
    const next = Math.min(chipset.wheel.nextDeadline(), until, this.#pauseTime);
    return partition.idle(Number.isFinite(next) ? Math.min(next, END_OF_TIME) : next, control.woken);
  }

  #answer(vcpu: Vcpu, stop: Stop): void {
    switch (stop.kind) {
      case "deadline":
      case "kicked":
      case "halted":
      case "yielded":
        return;
      case "shutdown": {
        const at = vcpu.registers.get("rip").toString(16);
        this.#control.finish({
          kind: "crashed",
          vcpu: vcpu.index,
          detail: `${stop.reason} on processor ${vcpu.index} at RIP 0x${at}`,
        });
        return;
      }
      case "host-violation":
        this.#control.finish({ kind: "host-violation", rule: stop.rule, detail: stop.detail });
        return;
      default:
        stop satisfies never;
    }
  }

  #canRun(vcpu: Vcpu): boolean {
    return vcpu.canRun(this.#hardware.dispatchers[vcpu.index]!);
  }

  /** The vCPU that a pause has stopped in the middle of its slice, if it can go on. */
  #unfinishedVcpu(now: number): Vcpu | undefined {
    const slice = this.#unfinished;
    if (slice === null) return undefined;
    const vcpu = this.#hardware.partition.vcpus[slice.vcpu];
    if (vcpu !== undefined && now < slice.end && this.#canRun(vcpu)) return vcpu;
    this.#unfinished = null;
    return undefined;
  }

  /** The next vCPU in turn that has something to do. */
  #nextRunnable(): Vcpu | undefined {
    const { vcpus } = this.#hardware.partition;
    for (let i = 0; i < vcpus.length; i++) {
      const vcpu = vcpus[(this.#turn + i) % vcpus.length]!;
      if (this.#canRun(vcpu)) {
        this.#turn = (vcpu.index + 1) % vcpus.length;
        return vcpu;
      }
    }
    return undefined;
  }

  /** No vCPU will run again by what a maskable interrupt can do: those that were started are halted with RFLAGS.IF clear. */
  #deadForEver(): boolean {
    return this.#hardware.partition.vcpus.every(
      (vcpu) =>
        vcpu.activity === "wait-for-sipi" ||
        vcpu.activity === "shutdown" ||
        (vcpu.activity === "halted" && (vcpu.registers.get("rflags") & INTERRUPT_FLAG) === 0n),
    );
  }

  #flushSerial(): void {
    const now = this.#hardware.partition.clock.now();
    for (const port of this.#hardware.serial) port.flush(now);
  }
}
