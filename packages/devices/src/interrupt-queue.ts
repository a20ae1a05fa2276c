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
  /** Vectors that need no EOI: they are finished in the moment in which they are taken. */
  readonly autoEoi = new Uint32Array(8);
  /** Is the highest request of a class above PPR's? Kept, since it is asked for far more often than it changes. */
  deliverable = false;
  #taskPriority = 0;
  /** -1 when the bank is empty, here and below. -1 >> 4 is -1, a class below all others. */
  #highestRequested = -1;
  #highestInService = -1;
  // Bit n: word n of the bank is not 0. The next highest vector is found without a search.
  #requestedWords = 0;
  #inServiceWords = 0;
  #levelWords = 0;
  #autoWords = 0;
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
    this.#requestedWords = occupied(this.requested);
    this.#inServiceWords = occupied(this.inService);
    this.#levelWords = occupied(this.levelTriggered);
    this.#highestRequested = highest(this.requested, this.#requestedWords);
    this.#highestInService = highest(this.inService, this.#inServiceWords);
    this.#settle();
  }

  /** Takes a saved bank of eight words, or an empty one. */
  loadAutoEoi(words: readonly number[]): void {
    this.autoEoi.fill(0).set(words);
    this.#autoWords = occupied(this.autoEoi);
  }

  setAutoEoi(vector: number, automatic: boolean): void {
    const word = vector >>> 5;
    const bit = 1 << (vector & 31);
    if (automatic) this.autoEoi[word]! |= bit;
    else this.autoEoi[word]! &= ~bit;
    this.#autoWords = occupied(this.autoEoi);
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

  /** Is one vector in service, edge-triggered, and nothing requested? Then its EOI would change nothing but ISR. */
  get endsUnnoticed(): boolean {
    const words = this.#inServiceWords;
    if (this.#requestedWords !== 0 || words === 0 || (words & (words - 1)) !== 0) return false;
    const bits = this.inService[this.#highestInService >>> 5]!;
    return (bits & (bits - 1)) === 0 && !this.isLevelTriggered(this.#highestInService);
  }

  /** Notes a request; false when the same vector waits already. */
  request(vector: number, level: boolean): boolean {
    const word = vector >>> 5;
    const bit = 1 << (vector & 31);
    // TMR is empty in most machines at most times.
    if (level || this.#levelWords !== 0) this.#setTrigger(word, bit, level);
    const before = this.requested[word]!;
    if ((before & bit) !== 0) return false;
    this.requested[word] = before | bit;
    this.#requestedWords |= 1 << word;
    if (vector > this.#highestRequested) {
      this.#highestRequested = vector;
      this.deliverable = vector >> 4 > this.#threshold;
    }
    return true;
  }

  /**
   * Moves the highest request into service; only while `deliverable`. What is left is of no higher class, so it has to wait,
   * unless the vector needs no EOI: then it is not in service and the next one may follow at once.
   */
  take(): number {
    const vector = this.#highestRequested;
    const word = vector >>> 5;
    const bit = 1 << (vector & 31);
    const left = this.requested[word]! & ~bit;
    this.requested[word] = left;
    if (left === 0) this.#requestedWords &= ~(1 << word);
    this.#highestRequested = this.#requestedWords === 0 ? -1 : highest(this.requested, this.#requestedWords);
    if (this.#autoWords !== 0 && (this.autoEoi[word]! & bit) !== 0) {
      this.#settle();
      return vector;
    }
    this.inService[word]! |= bit;
    this.#inServiceWords |= 1 << word;
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
    const left = this.inService[word]! & ~(1 << (vector & 31));
    this.inService[word] = left;
    if (left === 0) this.#inServiceWords &= ~(1 << word);
    this.#highestInService = this.#inServiceWords === 0 ? -1 : highest(this.inService, this.#inServiceWords);
    this.#settle();
    return vector;
  }

  isLevelTriggered(vector: number): boolean {
    return this.#levelWords !== 0 && ((this.levelTriggered[vector >>> 5]! >>> (vector & 31)) & 1) !== 0;
  }

  isInService(vector: number): boolean {
    return ((this.inService[vector >>> 5]! >>> (vector & 31)) & 1) !== 0;
  }

  #setTrigger(word: number, bit: number, level: boolean): void {
    const before = this.levelTriggered[word]!;
    const words = level ? before | bit : before & ~bit;
    this.levelTriggered[word] = words;
    if (words === 0) this.#levelWords &= ~(1 << word);
    else this.#levelWords |= 1 << word;
  }

  #settle(): void {
    const task = this.#taskPriority >> 4;
    const service = this.#highestInService >> 4;
    this.#threshold = task > service ? task : service;
    this.deliverable = this.#highestRequested >> 4 > this.#threshold;
  }
}

/** Bit n: word n is not 0. */
function occupied(words: Uint32Array): number {
  let bits = 0;
  for (let word = 0; word < words.length; word++) if (words[word] !== 0) bits |= 1 << word;
  return bits;
}

/** The highest set bit of a bank whose `occupied` words are given; -1 when there is none. */
function highest(words: Uint32Array, occupiedWords: number): number {
  if (occupiedWords === 0) return -1;
  const word = 31 - Math.clz32(occupiedWords);
  return word * 32 + 31 - Math.clz32(words[word]!);
}
