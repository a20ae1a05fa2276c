import { CR0, CR4, GPR, MXCSR, SEGMENT_BASE, TLB_READ, TLB_WRITE } from "./layout";
import { U_AUX, U_IMMEDIATE, U_IS_REG, U_NUMBER, U_RM, U_SEGMENT, U_SIZE, U_SUB } from "./uop";
import { hits, hostAddress, slot } from "./mmu";
import { sum } from "./operand";
import { doublewordIndices } from "./packedinteger";
import { xmmOfReg, xmmOfRm } from "./xmm";

/*
 * The commonest SSE2 instructions without a call, for slow(): moves, logic, some packed integers and arithmetic on
 * doubles, with registers or with memory that the TLB knows. Whatever is not plain here is refused, untouched, and sse()
 * does it. (In fast() this would be quicker still, but its weight there costs integer code up to a tenth.)
 */

const CR0_EM_TS: u32 = 0xc, CR4_OSFXSR: u32 = 0x200;
/** MXCSR: rounding control, PM and PE, and their value when rounding is to nearest and an inexact result is no news. */
const ROUNDING_AND_INEXACT: u32 = 0x7020, NEAREST_AND_RECORDED: u32 = 0x1020;

/** Kinds: dense, for a jump table. */
const enum Quick {
  NONE,
  LOAD, STORE, LOAD_64, STORE_64, LOAD_32, STORE_32, LOAD_64_ZERO, STORE_64_ZERO, FROM_GENERAL, TO_GENERAL, SIGNS,
  AND, OR, XOR, ANDN,
  ADD_F64, SUB_F64, MUL_F64, DIV_F64,
  EQUAL_8, EQUAL_16, EQUAL_32, GREATER_8, GREATER_32, MIN_U8, MAX_U8,
  ADD_8, ADD_16, ADD_32, ADD_64, SUB_8, SUB_32, SUB_64,
  UNPACK_LOW_8, UNPACK_LOW_16, UNPACK_LOW_32, UNPACK_LOW_64, UNPACK_HIGH_64, SHUFFLE_32,
}
const KIND: u32 = 0x3f;
/** With the kind: memory must be aligned to 16 bytes; memory is written. */
const ALIGNED: u8 = 0x40, WRITES: u8 = 0x80;

/** Kind by mandatory prefix x 256 + opcode. */
const KINDS = memory.data(1024);

function define(prefix: u32, opcode: u32, kind: u8): void { store<u8>(KINDS + (prefix << 8) + opcode, kind); }
function definePacked(opcode: u32, kind: u8): void { define(1, opcode, kind | ALIGNED); }

for (let prefix: u32 = 0; prefix < 2; prefix++) {
  define(prefix, 0x10, <u8>Quick.LOAD); // MOVUPS, MOVUPD
  define(prefix, 0x11, <u8>Quick.STORE | WRITES);
  define(prefix, 0x28, <u8>Quick.LOAD | ALIGNED); // MOVAPS, MOVAPD
  define(prefix, 0x29, <u8>Quick.STORE | ALIGNED | WRITES);
  define(prefix, 0x54, <u8>Quick.AND | ALIGNED); // ANDPS, ANDPD
  define(prefix, 0x55, <u8>Quick.ANDN | ALIGNED);
  define(prefix, 0x56, <u8>Quick.OR | ALIGNED);
  define(prefix, 0x57, <u8>Quick.XOR | ALIGNED);
}
define(3, 0x10, <u8>Quick.LOAD_64); // MOVSD
define(3, 0x11, <u8>Quick.STORE_64 | WRITES);
define(2, 0x10, <u8>Quick.LOAD_32); // MOVSS
define(2, 0x11, <u8>Quick.STORE_32 | WRITES);
define(2, 0x7e, <u8>Quick.LOAD_64_ZERO); // MOVQ
define(1, 0xd6, <u8>Quick.STORE_64_ZERO | WRITES);
define(1, 0x6e, <u8>Quick.FROM_GENERAL); // MOVD, MOVQ
define(1, 0x7e, <u8>Quick.TO_GENERAL);
define(2, 0x6f, <u8>Quick.LOAD); // MOVDQU
define(2, 0x7f, <u8>Quick.STORE | WRITES);
define(1, 0x6f, <u8>Quick.LOAD | ALIGNED); // MOVDQA
define(1, 0x7f, <u8>Quick.STORE | ALIGNED | WRITES);
define(3, 0x58, <u8>Quick.ADD_F64);
define(3, 0x5c, <u8>Quick.SUB_F64);
define(3, 0x59, <u8>Quick.MUL_F64);
define(3, 0x5e, <u8>Quick.DIV_F64);
definePacked(0xd7, <u8>Quick.SIGNS); // PMOVMSKB
definePacked(0xdb, <u8>Quick.AND);
definePacked(0xdf, <u8>Quick.ANDN);
definePacked(0xeb, <u8>Quick.OR);
definePacked(0xef, <u8>Quick.XOR);
definePacked(0x74, <u8>Quick.EQUAL_8);
definePacked(0x75, <u8>Quick.EQUAL_16);
definePacked(0x76, <u8>Quick.EQUAL_32);
definePacked(0x64, <u8>Quick.GREATER_8);
definePacked(0x66, <u8>Quick.GREATER_32);
definePacked(0xda, <u8>Quick.MIN_U8);
definePacked(0xde, <u8>Quick.MAX_U8);
definePacked(0xfc, <u8>Quick.ADD_8);
definePacked(0xfd, <u8>Quick.ADD_16);
definePacked(0xfe, <u8>Quick.ADD_32);
definePacked(0xd4, <u8>Quick.ADD_64);
definePacked(0xf8, <u8>Quick.SUB_8);
definePacked(0xfa, <u8>Quick.SUB_32);
definePacked(0xfb, <u8>Quick.SUB_64);
definePacked(0x60, <u8>Quick.UNPACK_LOW_8);
definePacked(0x61, <u8>Quick.UNPACK_LOW_16);
definePacked(0x62, <u8>Quick.UNPACK_LOW_32);
definePacked(0x6c, <u8>Quick.UNPACK_LOW_64);
definePacked(0x6d, <u8>Quick.UNPACK_HIGH_64);
definePacked(0x70, <u8>Quick.SHUFFLE_32);

/** As in ssefloat.ts: normal, and not the smallest, which may be an underflow rounded up. */
@inline function isNormal(bits: u64): bool { return (bits << 1) - 0x0020000000000001 < 0xffbfffffffffffff; }

/** Executes the Op.SSE at `p` and returns true, or changes nothing and returns false. */
@inline export function sseQuick(p: usize): bool {
  const entry = <u32>load<u8>(KINDS + (<usize>load<u8>(p, U_AUX) << 8) + <usize>load<u8>(p, U_SUB));
  if (entry == 0 || ((load<u32>(CR0) & CR0_EM_TS) | (~load<u32>(CR4) & CR4_OSFXSR)) != 0) return false;
  const register = load<u8>(p, U_IS_REG) != 0, d = xmmOfReg(p);
  let at = xmmOfRm(p);
  if (!register) {
    const segment = <usize>load<u8>(p, U_SEGMENT);
    if (segment > 7) return false; // another address size, or not 64-bit mode
    const linear = sum(p) + load<u64>(segment << 3, SEGMENT_BASE);
    if ((entry & ALIGNED) != 0 && (<u32>linear & 15) != 0) return false;
    // Sixteen bytes are asked for even where fewer are used: near the end of a page sse() does it.
    const e = slot(linear) + (entry & WRITES ? TLB_WRITE - TLB_READ : 0);
    if (!hits<v128>(e, TLB_READ, linear)) return false;
    at = hostAddress(e, TLB_READ, linear);
  }
  switch (<i32>(entry & KIND)) {
    case Quick.LOAD: v128.store(d, v128.load(at)); return true;
    case Quick.STORE: v128.store(at, v128.load(d)); return true;
    case Quick.LOAD_64:
      store<u64>(d, load<u64>(at));
      if (!register) store<u64>(d, 0, 8);
      return true;
    case Quick.STORE_64: store<u64>(at, load<u64>(d)); return true;
    case Quick.LOAD_32:
      if (register) store<u32>(d, load<u32>(at));
      else {
        store<u64>(d, load<u32>(at));
        store<u64>(d, 0, 8);
      }
      return true;
    case Quick.STORE_32: store<u32>(at, load<u32>(d)); return true;
    case Quick.LOAD_64_ZERO:
      store<u64>(d, load<u64>(at));
      store<u64>(d, 0, 8);
      return true;
    case Quick.STORE_64_ZERO:
      store<u64>(at, load<u64>(d));
      if (register) store<u64>(at, 0, 8);
      return true;
    case Quick.FROM_GENERAL: {
      if (register) at = GPR + <usize>load<u8>(p, U_RM);
      store<u64>(d, load<u8>(p, U_SIZE) == 3 ? load<u64>(at) : <u64>load<u32>(at));
      store<u64>(d, 0, 8);
      return true;
    }
    case Quick.TO_GENERAL:
      if (!register) return false;
      store<u64>(<usize>load<u8>(p, U_RM), load<u8>(p, U_SIZE) == 3 ? load<u64>(d) : <u64>load<u32>(d), GPR);
      return true;
    case Quick.SIGNS:
      if (!register) return false;
      store<u64>(<usize>load<u8>(p, U_NUMBER) << 3, <u64>i8x16.bitmask(v128.load(at)), GPR);
      return true;
    case Quick.AND: v128.store(d, v128.and(v128.load(d), v128.load(at))); return true;
    case Quick.OR: v128.store(d, v128.or(v128.load(d), v128.load(at))); return true;
    case Quick.XOR: v128.store(d, v128.xor(v128.load(d), v128.load(at))); return true;
    case Quick.ANDN: v128.store(d, v128.andnot(v128.load(at), v128.load(d))); return true;
    case Quick.ADD_F64: case Quick.SUB_F64: case Quick.MUL_F64: case Quick.DIV_F64: {
      if ((load<u32>(MXCSR) & ROUNDING_AND_INEXACT) != NEAREST_AND_RECORDED) return false;
      if (!isNormal(load<u64>(d)) || !isNormal(load<u64>(at))) return false;
      const x = load<f64>(d), y = load<f64>(at), kind = entry & KIND;
      const r = kind == Quick.ADD_F64 ? x + y : kind == Quick.MUL_F64 ? x * y : kind == Quick.SUB_F64 ? x - y : x / y;
      if (!isNormal(reinterpret<u64>(r))) return false;
      store<f64>(d, r);
      return true;
    }
    case Quick.EQUAL_8: v128.store(d, i8x16.eq(v128.load(d), v128.load(at))); return true;
    case Quick.EQUAL_16: v128.store(d, i16x8.eq(v128.load(d), v128.load(at))); return true;
    case Quick.EQUAL_32: v128.store(d, i32x4.eq(v128.load(d), v128.load(at))); return true;
    case Quick.GREATER_8: v128.store(d, i8x16.gt_s(v128.load(d), v128.load(at))); return true;
    case Quick.GREATER_32: v128.store(d, i32x4.gt_s(v128.load(d), v128.load(at))); return true;
    case Quick.MIN_U8: v128.store(d, i8x16.min_u(v128.load(d), v128.load(at))); return true;
    case Quick.MAX_U8: v128.store(d, i8x16.max_u(v128.load(d), v128.load(at))); return true;
    case Quick.ADD_8: v128.store(d, i8x16.add(v128.load(d), v128.load(at))); return true;
    case Quick.ADD_16: v128.store(d, i16x8.add(v128.load(d), v128.load(at))); return true;
    case Quick.ADD_32: v128.store(d, i32x4.add(v128.load(d), v128.load(at))); return true;
    case Quick.ADD_64: v128.store(d, i64x2.add(v128.load(d), v128.load(at))); return true;
    case Quick.SUB_8: v128.store(d, i8x16.sub(v128.load(d), v128.load(at))); return true;
    case Quick.SUB_32: v128.store(d, i32x4.sub(v128.load(d), v128.load(at))); return true;
    case Quick.SUB_64: v128.store(d, i64x2.sub(v128.load(d), v128.load(at))); return true;
    case Quick.UNPACK_LOW_8:
      v128.store(d, v128.shuffle<i8>(v128.load(d), v128.load(at), 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
      return true;
    case Quick.UNPACK_LOW_16: v128.store(d, v128.shuffle<i16>(v128.load(d), v128.load(at), 0, 8, 1, 9, 2, 10, 3, 11)); return true;
    case Quick.UNPACK_LOW_32: v128.store(d, v128.shuffle<i32>(v128.load(d), v128.load(at), 0, 4, 1, 5)); return true;
    case Quick.UNPACK_LOW_64: v128.store(d, v128.shuffle<i64>(v128.load(d), v128.load(at), 0, 2)); return true;
    case Quick.UNPACK_HIGH_64: v128.store(d, v128.shuffle<i64>(v128.load(d), v128.load(at), 1, 3)); return true;
    case Quick.SHUFFLE_32: v128.store(d, i8x16.swizzle(v128.load(at), doublewordIndices(<u32>load<u8>(p, U_IMMEDIATE)))); return true;
    default: return false;
  }
}
