/**
 * Which vector comes next: IRR, ISR, TMR and TPR of a local APIC (Intel SDM 3A, "Interrupt, Task, and Processor Priority"). A
 * vector's upper four bits are its priority class. The banks are eight words each, vector 0 in bit 0 of the first.
 */
export class InterruptQueue {
  /** IRR. Written only through this class, like the other two. */
  readonly requested = new Uint32Array(8);
  /** ISR. */
  readonly inService = new Uint32Array(8);
  /** TMR: vectors whose last request was level-triggered. */
  readonly levelTriggered = new Uint32Array(8);
  /** Is the highest request of a class above PPR's? Kept, since it is asked for far more often than it changes. */
  deliverable = false;
  #taskPriority = 0;
  /** -1 when the bank is empty, here and below. -1 >> 4 is -1, a class below all others. */
  #highestRequested = -1;
  #highestInService = -1;
  /** The class of PPR. */
  #threshold = 0;

  clear(): void {
    this.load([], [], [], 0);
  }

  /** Takes saved banks of eight words each, or empty ones, and TPR. */
  load(
    requested: readonly number[],
    inService: readonly number[],
    levelTriggered: readonly number[],
    taskPriority: number,
  ): void {
    this.requested.fill(0).set(requested);
    this.inService.fill(0).set(inService);
    this.levelTriggered.fill(0).set(levelTriggered);
    this.#taskPriority = taskPriority;
    this.#highestRequested = highest(this.requested, 7);
    this.#highestInService = highest(this.inService, 7);
    this.#settle();
  }

  /** TPR, all 8 bits. */
  get taskPriority(): number {
    return this.#taskPriority;
  }

  set taskPriority(value: number) {
    this.#taskPriority = value;
    this.#settle();
  }

  /** PPR. The full TPR when its class is at least that of what is in service, so that its low bits read back. */
  get processorPriority(): number {
    const service = this.#highestInService;
    return this.#taskPriority >> 4 >= service >> 4 ? this.#taskPriority : service & 0xf0;
  }

  /** APR (SDM, "Arbitration Priority Register"). */
  get arbitrationPriority(): number {
    const task = this.#taskPriority;
    const service = Math.max(this.#highestInService, 0) & 0xf0;
    const request = Math.max(this.#highestRequested, 0) & 0xf0;
    if ((task & 0xf0) >= request && (task & 0xf0) > service) return task;
    return Math.max(task & request & 0xf0, service);
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
    if (vector > this.#highestRequested) {
      this.#highestRequested = vector;
      this.deliverable = vector >> 4 > this.#threshold;
    }
    return true;
  }

  /** Moves the highest request into service; only while `deliverable`. What is left is of no higher class, so it has to wait. */
  take(): number {
    const vector = this.#highestRequested;
    const word = vector >>> 5;
    const bit = 1 << (vector & 31);
    this.requested[word]! &= ~bit;
    this.inService[word]! |= bit;
    this.#highestRequested = highest(this.requested, word);
    this.#highestInService = vector;
    this.#threshold = vector >> 4;
    this.deliverable = false;
    return vector;
  }

  /** Ends the highest vector in service and returns it; -1 when there was none. */
  finish(): number {
    const vector = this.#highestInService;
    if (vector < 0) return vector;
    const word = vector >>> 5;
    this.inService[word]! &= ~(1 << (vector & 31));
    this.#highestInService = highest(this.inService, word);
    this.#settle();
    return vector;
  }

  isLevelTriggered(vector: number): boolean {
    return ((this.levelTriggered[vector >>> 5]! >>> (vector & 31)) & 1) !== 0;
  }

  #settle(): void {
    this.#threshold = Math.max(this.#taskPriority >> 4, this.#highestInService >> 4);
    this.deliverable = this.#highestRequested >> 4 > this.#threshold;
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
