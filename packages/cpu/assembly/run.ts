// Around the run loop (which gen/dispatch.mjs writes): entering, the slow door between blocks, taking an instruction back.
import {
  ACTIVITY, ACTIVITY_RUNNING, ARENA, BLOCK_LINEAR, GPR, COUNT, LIMIT, MODE, MODE_STEP, NMI_PENDING, RIP, STOP, STOP_HALT, STOP_SHUTDOWN, ACTIVITY_SHUTDOWN,
} from "./layout";
import { U_LEFT, U_OFFSET, U_OP } from "./uop";
import { JCC, Op } from "./ops";
import { generalProtection } from "./fault";
import { ENTRY_STAMP, NEXT, NEXT_SLOT, ONE, STEPPING, UOP } from "./state";
import * as state from "./state";
import * as blocks from "./blocks";
import * as mmu from "./mmu";
import { afterInstruction, beforeInstruction } from "./debug";
import { canNonMaskable, nonMaskableInterrupt } from "./interrupts";
import { fast, slow } from "../build/dispatch";

/**
 * Undoes the current instruction after a fault: rip is its address again and COUNT does not hold what did not run. The fault
 * itself costs a nanosecond, else a guest whose handlers fault without end would stop the clock.
 */
export function rollback(): void {
  const p = state.current;
  let count = load<i64>(COUNT) + 1;
  if (p) {
    state.rip = mmu.wrap(load<u64>(BLOCK_LINEAR) + <u64>load<u16>(p, U_OFFSET));
    count -= <i64>load<u16>(p, U_LEFT);
    state.current = 0;
  }
  store<i64>(COUNT, count);
  store<u32>(STEPPING, 0);
  blocks.stamp();
}

/**
 * The way to the next block when its predecessor does not know it: finishes a single step, looks at the limit, begins
 * the next step, finds or decodes. Returns the block, with state.rip its address, or 0 when run() is to return.
 * `slot` learns the block.
 */
function door(next: u64, slot: usize): usize {
  next = mmu.wrap(next);
  state.rip = next;
  state.current = 0;
  if (<u64>(<i64>(next << 16) >> 16) != next) refuseTarget(slot);
  if (load<u32>(STEPPING)) {
    store<u32>(STEPPING, 0);
    afterInstruction();
    state.current = 0;
    blocks.stamp();
  }
  if (load<i64>(COUNT) >= load<i64>(LIMIT)) return 0;
  if (load<u32>(MODE) & MODE_STEP) {
    beforeInstruction();
    store<u32>(STEPPING, 1);
    blocks.stamp();
    return blocks.find(state.rip);
  }
  const generation = blocks.arenaGeneration;
  const target = state.rip;
  const b = blocks.find(target);
  if (generation == blocks.arenaGeneration && target == next) store<u32>(slot, <u32>b);
  return b;
}

/**
 * A relative branch to an address that is not canonical faults itself, not the fetch behind it. `slot` tells which branch it
 * was: the word belongs to the END uop after it. CALL has pushed already. (Indirect branches are checked where they execute.)
 */
function refuseTarget(slot: usize): void {
  if (slot < ARENA || (slot & 31) != 4) return;
  const p = slot - 36, op = <u32>load<u16>(p, U_OP);
  if (op == Op.CALL) store<u64>(GPR + 32, load<u64>(GPR + 32) + 8);
  else if (op != Op.JMP && !(op >= JCC && op < JCC + 16)) return;
  state.current = p;
  generalProtection();
}
/** From block to block where fast() could not: returns the first uop, or 0 when run() is to return. */
function enter(next: u64, slot: usize): usize {
  let b = <usize>load<u32>(slot);
  if (load<u64>(b, blocks.B_LINEAR) != next || load<u32>(b, blocks.B_STAMP) != load<u32>(ENTRY_STAMP)) {
    b = door(next, slot);
    if (!b) return 0;
    next = state.rip;
  }
  const count = load<i64>(COUNT);
  if (count >= load<i64>(LIMIT)) { state.rip = next; return 0; }
  store<i64>(COUNT, count + <i64>load<u32>(b, blocks.B_COUNT));
  store<u64>(BLOCK_LINEAR, next);
  return b + blocks.HEADER;
}
/** Executes from state.rip; state.rip is exact on return. */
function execute(): void {
  let p = enter(state.rip, blocks.cacheSlot(state.rip));
  while (p) {
    store<u32>(UOP, <u32>p);
    p = fast();
    if (p) p = slow(p);
    if (!p) p = enter(load<u64>(NEXT), <usize>load<u32>(NEXT_SLOT));
  }
}

/** Runs until COUNT >= LIMIT or something stops the vCPU; returns STOP. */
export function run(): u32 {
  state.rip = load<u64>(RIP);
  state.current = 0;
  if (load<u32>(NMI_PENDING) && canNonMaskable()) nonMaskableInterrupt();
  const activity = load<u32>(ACTIVITY);
  if (activity == ACTIVITY_RUNNING) execute();
  else store<u32>(STOP, activity == ACTIVITY_SHUTDOWN ? STOP_SHUTDOWN : STOP_HALT);
  state.current = 0;
  store<u64>(RIP, state.rip);
  return load<u32>(STOP);
}
/** Makes the TLB and the block cache serve the context page that the host has just put in place. */
export function adoptContext(): void {
  state.current = 0;
  store<u32>(STEPPING, 0);
  store<u64>(ONE, 1);
  mmu.adopt();
  blocks.adopt();
}
