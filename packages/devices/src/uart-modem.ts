import { Mcr, ModemLine } from "./uart16550-registers.ts";

/** Bits 3:0 of MSR: what has changed. */
const changes = 0x0f;
const levels = 0xf0;

/**
 * The modem half of a 16550A: the lines that come in, or in loop mode MCR's own outputs in their place, and the changes that nobody
 * has read yet. The changes belong to the lines as MSR sees them, whichever they are (8.8: the modem interrupts work in loop mode,
 * their sources are MCR's lower four bits), so a switch to loop mode or back is a change as well.
 */
export class UartModem {
  #lines = 0;
  #changed = 0;

  /** MSR. */
  status(mcr: number): number {
    return this.#levels(mcr) | this.#changed;
  }

  /** Is there a change that nobody has read? */
  get changed(): boolean {
    return this.#changed !== 0;
  }

  /** What reading MSR does (8.9). */
  clearChanges(): void {
    this.#changed = 0;
  }

  /** Levels of CTS, DSR, RI and DCD as `ModemLine` bits, set = asserted. */
  setLines(lines: number, mcr: number): void {
    const before = this.#levels(mcr);
    this.#lines = lines & levels;
    this.#latch(before, this.#levels(mcr));
  }

  /** MCR is written. */
  control(before: number, after: number): void {
    this.#latch(this.#levels(before), this.#levels(after));
  }

  /** 8.8: in loop mode DTR, RTS, OUT1 and OUT2 come back as DSR, CTS, RI and DCD. */
  #levels(mcr: number): number {
    if ((mcr & Mcr.loop) === 0) return this.#lines;
    return (
      ((mcr & Mcr.dtr) !== 0 ? ModemLine.dsr : 0) |
      ((mcr & Mcr.rts) !== 0 ? ModemLine.cts : 0) |
      ((mcr & Mcr.out1) !== 0 ? ModemLine.ri : 0) |
      ((mcr & Mcr.out2) !== 0 ? ModemLine.dcd : 0)
    );
  }

  #latch(before: number, after: number): void {
    const changed = before ^ after;
    if (changed === 0) return;
    // TERI only reports the end of ringing (8.9), the others any change.
    const ringEnded = changed & ModemLine.ri & ~after;
    this.#changed |= ((changed & ~ModemLine.ri) | ringEnded) >> 4;
  }

  /** As after power-on, `register` being MSR. */
  reset(register: number): void {
    this.restore(register);
  }

  /** MSR as read outside loop mode. */
  save(): number {
    return this.#lines | this.#changed;
  }

  restore(register: number): void {
    this.#lines = register & levels;
    this.#changed = register & changes;
  }
}
