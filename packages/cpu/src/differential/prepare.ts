import type { CaseBuilder } from "./builder.ts";
import type { Form } from "./form.ts";
import { A_CROSS, CS_32, CS_64, DS_USER, R_CROSS, R_CROSS_SIZE } from "./record.ts";
import { fill } from "./values.ts";

/**
 * What the generator arranges before an instruction so that it has something to do: a count in CL, a pointer in RSI,
 * a return address on the stack. Registers that an earlier instruction of the case names are left as they are.
 */

/** Selectors worth loading: the null ones, those of a Linux process, system descriptors, and any. 0x78 depends on the CPU. */
const SELECTORS = [
  0, 3, 0x08, 0x10, 0x13, 0x18, 0x20, 0x23, 0x28, 0x2b, 0x30, 0x33, 0x32, 0x40, 0x50, 0x07, 0x0f, 0x53, 0x60,
  0x73, 0x80, 0xfff8,
];

/** CMPS and SCAS. */
const COMPARING = new Set([0xa6, 0xa7, 0xae, 0xaf]);

export function selector(builder: CaseBuilder): number {
  const random = builder.random;
  const value = random.oneIn(4) ? random.word() & 0xffff : random.pick(SELECTORS);
  return (value & ~7) === 0x78 ? 0 : value;
}

/** Before the encoding; `operandBytes` is the operand size. */
export function prepareRegisters(
  builder: CaseBuilder,
  form: Form,
  operandBytes: number,
  addressBytes: number,
  segmentBase: number,
): void {
  const random = builder.random;
  const pointer = (register: number, address: number, base = segmentBase) => {
    if (builder.isFree(register)) builder.setAddress(register, address - base, addressBytes);
  };
  switch (form.prepare) {
    case "string": {
      const step = () => A_CROSS + random.below(R_CROSS_SIZE - 8);
      // One of the two at most may fault, and through FS and GS only low addresses: see explained.ts.
      const odd = random.below(16);
      pointer(
        6,
        odd === 0 && segmentBase === builder.dataBase ? builder.target(operandBytes, false) : step(),
      );
      pointer(7, odd === 1 ? builder.target(operandBytes, false) : step(), builder.dataBase);
      if (builder.isFree(1)) {
        builder.setAddress(1, random.oneIn(10) ? random.below(600) : random.below(24), addressBytes);
      }
      // Comparisons would end at once in noise.
      if (COMPARING.has(form.opcode[0] as number) && random.oneIn(2)) {
        const same = random.below(256);
        for (let i = 0; i < R_CROSS_SIZE; i++) builder.record.setUint8(R_CROSS + i, same);
        if (builder.isFree(0)) builder.setRegister(0, same * 0x1010101);
        const odd = random.below(R_CROSS_SIZE);
        builder.record.setUint8(R_CROSS + odd, random.below(256));
      }
      break;
    }
    case "divide":
      if (operandBytes === 1) {
        if (builder.isFree(0) && !random.oneIn(4))
          builder.setLow16(0, (random.word() & 0x1fff) - (random.oneIn(2) ? 0x1000 : 0));
      } else if (builder.isFree(2) && !random.oneIn(4)) {
        builder.setRegister(2, random.oneIn(2) ? 0 : random.oneIn(2) ? -1 : random.below(256));
      }
      break;
    case "count":
      if (builder.isFree(1) && !random.oneIn(4)) builder.setRegister(1, random.below(70));
      break;
    case "narrow-count":
      if (operandBytes === 2 && builder.isFree(1))
        builder.setLow8(1, random.below(17) + 32 * random.below(8));
      break;
    case "frame":
      if (builder.isFree(5))
        builder.setRegister(
          5,
          random.oneIn(12) ? builder.target(8, false) : A_CROSS + 64 + 8 * random.below(50),
        );
      break;
    case "table":
      pointer(
        3,
        random.oneIn(8) && segmentBase === builder.dataBase
          ? builder.target(1, false)
          : A_CROSS + random.below(256),
      );
      break;
    case "mask-move":
      pointer(7, A_CROSS + random.below(R_CROSS_SIZE - 16));
      break;
    default:
  }
}

/** After the choice of the memory operand at `address` or of the register `rm`. */
export function prepareOperand(
  builder: CaseBuilder,
  form: Form,
  operandBytes: number,
  size: number,
  address: number | undefined,
  rm: number,
): void {
  const random = builder.random;
  const at = address === undefined ? -1 : builder.content(address, size);
  switch (form.prepare) {
    case "compare-exchange":
      if (random.oneIn(2)) break;
      if (at >= 0 && builder.isFree(0)) {
        const half = form.opcode[1] === 0xc7 ? size / 2 : size;
        for (let i = 0; i < half; i++) builder.record.setUint8(at + i, builder.record.getUint8(i));
        if (form.opcode[1] === 0xc7 && builder.isFree(2)) {
          for (let i = 0; i < half; i++)
            builder.record.setUint8(at + half + i, builder.record.getUint8(16 + i));
        }
      } else if (address === undefined && builder.isFree(rm) && operandBytes > 1 && rm !== 0) {
        builder.setRegister(rm, builder.lowRegister(0));
      }
      break;
    case "selector":
      if (address !== undefined) builder.setMemory(address, selector(builder), 2);
      else if (builder.isFree(rm) && rm !== 4) builder.setLow16(rm, selector(builder));
      break;
    case "far-pointer":
      if (address !== undefined) builder.setMemory(address + operandBytes, selector(builder), 2);
      break;
    case "mxcsr":
      if (at >= 0) {
        // Bit 17 is AMD's own; the other reserved bits raise #GP.
        const reserved = random.oneIn(8) ? 1 << random.pick([16, 18, 19, 23, 31]) : 0;
        builder.record.setUint32(at, ((random.word() & 0xffff) | reserved) >>> 0, true);
      }
      break;
    case "aligned-image":
      if (at >= 0) {
        fill(random, builder.record, at, 512, "f80");
        builder.record.setUint16(at, (random.word() & 0x1f3f) | 0x40, true);
        builder.record.setUint16(at + 2, random.word() & 0x7f7f, true);
        for (let i = 0; i < 8; i++)
          builder.record.setUint16(at + 32 + 16 * i + 8, random.word() & 0xffff, true);
        const reserved = random.oneIn(8) ? 1 << random.pick([16, 18, 24, 31]) : 0;
        builder.record.setUint32(at + 24, ((random.word() & 0xffff) | reserved) >>> 0, true);
      }
      break;
    default:
  }
}

/** A selector for POP Sreg on the stack. */
export function prepareStackedSelector(builder: CaseBuilder): void {
  builder.setMemory(builder.lowRegister(4), selector(builder), 4);
}

/** The far pointer of CALL and JMP, in memory at `address` or as the immediate that ends at the builder's place. */
export function prepareFarTarget(
  builder: CaseBuilder,
  operandBytes: number,
  next: number,
  address: number | undefined,
): void {
  const random = builder.random;
  let code = builder.codeSelector;
  if (random.oneIn(3)) code = random.oneIn(2) ? selector(builder) : builder.wide ? CS_32 : CS_64;
  const offset = builder.bits !== 16 && random.oneIn(24) ? builder.target(1, false) : next;
  if (address === undefined) {
    builder.patch(builder.length - 2, code, 2);
    builder.patch(builder.length - 2 - operandBytes, offset, operandBytes);
  } else {
    builder.setMemory(address, offset, operandBytes);
    builder.setMemory(address + operandBytes, code, 2);
  }
}

/** The return frame of RET, RETF and IRET, for which `next` is the address of the following instruction. */
export function prepareReturn(builder: CaseBuilder, form: Form, operandBytes: number, next: number): void {
  const random = builder.random;
  const stack = builder.lowRegister(4);
  const width = form.prepare === "return" ? builder.pointerBytes : operandBytes;
  builder.setMemory(stack, random.oneIn(24) ? builder.target(1, false) : next, width);
  if (form.prepare === "return") return;
  let code = builder.codeSelector;
  if (random.oneIn(6)) code = random.oneIn(2) ? selector(builder) : builder.wide ? CS_32 : CS_64;
  builder.setMemory(stack + width, code, width);
  if (form.prepare === "far-return") return;
  // AC would make Linux report misaligned accesses; TF only now and then.
  const flags = random.word() & ~0x40000 & (random.oneIn(16) ? -1 : ~0x100);
  builder.setMemory(stack + 2 * width, flags >>> 0, width);
  if (!builder.wide) return;
  builder.setMemory(stack + 3 * width, A_CROSS + random.below(256), width);
  builder.setMemory(stack + 4 * width, random.oneIn(12) ? selector(builder) : DS_USER, width);
}
