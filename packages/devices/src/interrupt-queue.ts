/**
 * Which vector comes next: IRR, ISR, TMR and TPR of a local APIC (Intel SDM 3A, "Interrupt, Task, and Processor Priority"). A
 * vector's upper four bits are its priority class. The banks are eight words each, vector 0 in bit 0 of the first.
 */
export class InterruptQueue {
  /** IRR. Written only through this class. */
  readonly requested = new Uint32Array(8);
  /** ISR. */
  readonly inService = new Uint32Array(8);
  /** TMR: vectors whose last request was level-triggered. */
  readonly levelTriggered = new Uint32Array(8);
  /** TPR, all 8 bits. */
  taskPriority = 0;
  // The processor asks for these far more often than banks change; -1 when a bank is empty.
  #highestRequested = -1;
  #highestInService = -1;

  clear(): void {
    this.requested.fill(0);
    this.inService.fill(0);
    this.levelTriggered.fill(0);
    this.taskPriority = 0;
    this.#highestRequested = -1;
    this.#highestInService = -1;
  }

  /** Takes saved banks of eight words each. */
  load(requested: readonly number[], inService: readonly number[], levelTriggered: readonly number[]): void {
    this.requested.set(requested);
    this.inService.set(inService);
    this.levelTriggered.set(levelTriggered);
    this.#highestRequested = highest(this.requested, 7);
    this.#highestInService = highest(this.inService, 7);
  }

  /** PPR. The full TPR when its class is at least that of what is in service, so that its low bits read back. */
  get processorPriority(): number {
    const service = this.#highestInService;
    // -1 >> 4 is -1, below every class.
    return this.taskPriority >> 4 >= service >> 4 ? this.taskPriority : service & 0xf0;
  }

  /** APR (SDM, "Arbitration Priority Register"). */
  get arbitrationPriority(): number {
    const task = this.taskPriority;
    const service = Math.max(this.#highestInService, 0) & 0xf0;
    const request = Math.max(this.#highestRequested, 0) & 0xf0;
    if ((task & 0xf0) >= request && (task & 0xf0) > service) return task;
    return Math.max(task & request & 0xf0, service);
  }

  /** Is the highest request of a class above PPR? */
  get deliverable(): boolean {
    const request = this.#highestRequested >> 4;
    return request > this.taskPriority >> 4 && request > this.#highestInService >> 4;
  }

  /** Notes a request; false when the same vector waits already. */
  request(vector: number, level: boolean): boolean {
    const word = vector >>> 5;
    const bit = 1 << (vector & 31);
    if (level) this.levelTriggered[word]! |= bit;
    else this.levelTriggered[word]! &= ~bit;
    const before = this.requested[word]!;
    if ((before & bit) !== 0) return false;
    this.requested[word] = before | bit;
    if (vector > this.#highestRequested) this.#highestRequested = vector;
    return true;
  }

  /** Moves the highest request into service; only while `deliverable`, so that it is the highest there too. */
  take(): number {
    const vector = this.#highestRequested;
    const word = vector >>> 5;
    const bit = 1 << (vector & 31);
    this.requested[word]! &= ~bit;
    this.inService[word]! |= bit;
    this.#highestRequested = highest(this.requested, word);
    this.#highestInService = vector;
    return vector;
  }

  /** Ends the highest vector in service and returns it; -1 when there was none. */
  finish(): number {
    const vector = this.#highestInService;
    if (vector < 0) return vector;
    const word = vector >>> 5;
    this.inService[word]! &= ~(1 << (vector & 31));
    this.#highestInService = highest(this.inService, word);
    return vector;
  }

  isLevelTriggered(vector: number): boolean {
    return ((this.levelTriggered[vector >>> 5]! >>> (vector & 31)) & 1) !== 0;
  }
}

/** The highest set bit in words `from` down to 0; -1 when there is none. */
function highest(words: Uint32Array, from: number): number {
  for (let word = from; word >= 0; word--) {
    const bits = words[word]!;
    if (bits !== 0) return word * 32 + 31 - Math.clz32(bits);
  }
  return -1;
}
