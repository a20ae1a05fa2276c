/*
 * Blocks of uops from instruction bytes, for 64-, 32- and 16-bit code.
 *
 * Nothing here has a guest-visible effect except the fetch of a second page, which may raise #PF as on hardware. An
 * instruction that does not exist is taken in whole, with its operands, before it is #UD: it may be too long, or its end on a page that
 * faults.
 */
import { MODE_STEP, RAM, COUNTER_DECODED, COUNTERS } from "./layout";
import { U_OP, U_OFFSET, U_IMMEDIATE, U_NEXT, U_LEFT } from "./uop";
import { HEADER, B_COUNT, B_BYTES } from "./blocks";
import { Op } from "./ops";
import { beginBlock, beginInstruction, ends, finishInstruction, length, mode, setOp, starved } from "./instruction";
import * as instruction from "./instruction";
import { oneByte } from "./onebyte";
import { twoByte } from "./twobyte";
import { fuse } from "./fuse";

/** Instructions of a block. */
export const MAX_UOPS: u32 = 64;

/**
 * Whether a block goes on at the target of a jump: forward and in the same page. (Backward would need signed offsets, and
 * would unroll loops.)
 */
function follows(target: i64, behind: u32, room: usize): bool { return target >= <i64>behind && target < <i64>room; }

/** The block that was decoded last ends where it does because of `room`. */
export let limited: bool = false;

/** Decodes the block at `linear` (in RAM at `physical`) to `b`, at most `room` bytes (what CS's limit leaves); returns the end of its memory. */
export function decodeBlock(b: usize, linear: u64, physical: u32, blockMode: u32, room: u32): usize {
  beginBlock(linear, blockMode);
  limited = false;
  let offset: u32 = 0;
  let p = b + HEADER, n: u32 = 0;
  const start = RAM + <usize>physical;
  const page = (start & ~0xfff) + 0x1000;
  const most: u32 = blockMode & MODE_STEP ? 1 : MAX_UOPS;
  while (n < most) {
    if (start + offset >= page) break;
    memory.fill(p, 0, 32);
    const opcode = beginInstruction(p, start + offset, page, offset, n == 0);
    if (opcode == 0x0f) twoByte(p); else oneByte(p, opcode);
    finishInstruction(p);
    if (starved) break;
    if (offset + length > room) {
      limited = true;
      if (n) break;
      setOp(p, Op.GP); // the first instruction leaves the code segment
      instruction.ends = true;
    }
    const op = <u32>load<u16>(p, U_OP);
    offset += length;
    n++;
    if (op == Op.NOP && most > 1) continue; // counts as an instruction, but nobody has to execute it
    if (op == Op.JMP && most > 1 && follows(load<i64>(p, U_IMMEDIATE), offset, page - start)) {
      offset = <u32>load<i64>(p, U_IMMEDIATE);
      continue;
    }
    store<u16>(p, <u16>n, U_LEFT);
    p += 32;
    if (ends) break;
  }
  store<u64>(COUNTERS + (<usize>COUNTER_DECODED << 3), load<u64>(COUNTERS + (<usize>COUNTER_DECODED << 3)) + <u64>n);
  store<u32>(b, n, B_COUNT);
  store<u32>(b, offset, B_BYTES);
  for (let q = b + HEADER; q < p; q += 32) store<u16>(q, <u16>(n + 1 - load<u16>(q, U_LEFT)), U_LEFT);
  // A way out where there is no branch; behind a branch nobody comes here.
  memory.fill(p, 0, 32);
  setOp(p, Op.END);
  store<u16>(p, <u16>offset, U_OFFSET);
  store<u16>(p, <u16>offset, U_NEXT);
  fuse(b, p, mode == 0);
  return p + 32;
}
