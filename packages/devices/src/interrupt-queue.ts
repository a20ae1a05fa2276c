import { VectorSet } from "./vector-set.ts";

/**
 * Which vector comes next: IRR, ISR, TMR and TPR of a local APIC (Intel SDM 3A, "Interrupt, Task, and Processor Priority"). A
 * vector's upper four bits are its priority class.
 */
export class InterruptQueue {
  readonly requested = new VectorSet();
  readonly inService = new VectorSet();
  /** Vectors whose last request was level-triggered. */
  readonly levelTriggered = new VectorSet();
  /** TPR, all 8 bits. */
  taskPriority = 0;

  clear(): void {
    this.requested.clear();
    this.inService.clear();
    this.levelTriggered.clear();
    this.taskPriority = 0;
  }

  /** PPR. The full TPR when its class is at least that of what is in service, so that its low bits read back. */
  get processorPriority(): number {
    const service = this.inService.highest;
    if (service < 0 || this.taskPriority >>> 4 >= service >>> 4) return this.taskPriority;
    return service & 0xf0;
  }

  /** APR (SDM, "Arbitration Priority Register"). */
  get arbitrationPriority(): number {
    const task = this.taskPriority;
    const service = Math.max(this.inService.highest, 0) & 0xf0;
    const request = Math.max(this.requested.highest, 0) & 0xf0;
    if ((task & 0xf0) >= request && (task & 0xf0) > service) return task;
    return Math.max(task & request & 0xf0, service);
  }

  /** Is the highest request of a class above PPR? */
  get deliverable(): boolean {
    const request = this.requested.highest;
    if (request < 0) return false;
    const service = this.inService.highest;
    const task = this.taskPriority >>> 4;
    const request4 = request >>> 4;
    return request4 > task && (service < 0 || request4 > service >>> 4);
  }

  /** Notes a request; false when the same vector waits already. */
  request(vector: number, level: boolean): boolean {
    if (level) this.levelTriggered.add(vector);
    else this.levelTriggered.delete(vector);
    if (this.requested.has(vector)) return false;
    this.requested.add(vector);
    return true;
  }

  /** Moves the highest request into service; only while `deliverable`. */
  take(): number {
    const vector = this.requested.highest;
    this.requested.delete(vector);
    this.inService.add(vector);
    return vector;
  }

  /** Ends the highest vector in service and returns it; -1 when there was none. */
  finish(): number {
    const vector = this.inService.highest;
    if (vector >= 0) this.inService.delete(vector);
    return vector;
  }
}
