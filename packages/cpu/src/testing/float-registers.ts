import { GPR, MXCSR, X87, X87_CONTROL, X87_STATUS, X87_TAG, XMM } from "../../assembly/layout.ts";
import { BareMachine, code } from "./bare-machine.ts";

/*
 * The x87, MMX and SSE registers of a bare machine, and numbers as the bits that they hold.
 */

const scratch = new DataView(new ArrayBuffer(8));
/** Bits of a double. */
export function f64(value: number): bigint {
  scratch.setFloat64(0, value);
  return scratch.getBigUint64(0);
}
/** Bits of a single. */
export function f32(value: number): bigint {
  scratch.setFloat32(0, value);
  return BigInt(scratch.getUint32(0));
}
export function fromF64(bits: bigint): number {
  scratch.setBigUint64(0, bits);
  return scratch.getFloat64(0);
}
/** Bits of a normal double or zero in the 80-bit format: sign and exponent above the 64-bit significand. */
export function f80(value: number): bigint {
  const bits = f64(value);
  const sign = (bits >> 63n) << 79n;
  if (value === 0) return sign;
  if (!Number.isFinite(value))
    return sign | (0x7fffn << 64n) | (1n << 63n) | ((bits & 0xfffffffffffffn) << 11n);
  const exponent = ((bits >> 52n) & 0x7ffn) - 1023n + 16383n;
  return sign | (exponent << 64n) | (1n << 63n) | ((bits & 0xfffffffffffffn) << 11n);
}

export const QNAN80 = 0xffffc000000000000000n;

/** Exception flags of MXCSR and of the x87 status word. */
export const FLAG = { IE: 1, DE: 2, ZE: 4, OE: 8, UE: 16, PE: 32, SF: 64, ES: 0x80 } as const;
export const C0 = 0x100;
export const C1 = 0x200;
export const C2 = 0x400;
export const C3 = 0x4000;

/** MXCSR and x87 rounding modes. */
export const ROUND = { nearest: 0, down: 1, up: 2, zero: 3 } as const;

export class FloatMachine {
  readonly bare: BareMachine;
  private constructor(bare: BareMachine) {
    this.bare = bare;
  }
  static async create(): Promise<FloatMachine> {
    return new FloatMachine(await BareMachine.create());
  }
  get view(): DataView {
    return this.bare.processor.view;
  }

  get mxcsr(): number {
    return this.view.getUint32(MXCSR, true);
  }
  set mxcsr(value: number) {
    this.view.setUint32(MXCSR, value, true);
  }
  /** 128 bits. */
  xmm(i: number): bigint {
    return (
      this.view.getBigUint64(XMM + 16 * i, true) | (this.view.getBigUint64(XMM + 16 * i + 8, true) << 64n)
    );
  }
  setXmm(i: number, value: bigint): void {
    this.view.setBigUint64(XMM + 16 * i, BigInt.asUintN(64, value), true);
    this.view.setBigUint64(XMM + 16 * i + 8, BigInt.asUintN(64, value >> 64n), true);
  }
  gpr(i: number): bigint {
    return this.view.getBigUint64(GPR + 8 * i, true);
  }

  get control(): number {
    return this.view.getUint16(X87_CONTROL, true);
  }
  get status(): number {
    return this.view.getUint16(X87_STATUS, true);
  }
  set status(value: number) {
    this.view.setUint16(X87_STATUS, value, true);
  }
  get top(): number {
    return (this.status >> 11) & 7;
  }
  /** One bit per physical register: 1 = in use. */
  get tags(): number {
    return this.view.getUint8(X87_TAG);
  }
  st(i: number): bigint {
    const at = X87 + 16 * ((this.top + i) & 7);
    return this.view.getBigUint64(at, true) | (BigInt(this.view.getUint16(at + 8, true)) << 64n);
  }
  /** MMX register i, or an x87 register by physical number. */
  mm(i: number): bigint {
    return this.view.getBigUint64(X87 + 16 * i, true);
  }
  setMm(i: number, value: bigint): void {
    this.view.setBigUint64(X87 + 16 * i, value, true);
  }

  /** As after FNINIT and loads that leave `values` as ST(0), ST(1), ...; `control` 0x37F masks all and rounds to nearest. */
  stack(values: readonly bigint[], control = 0x37f): void {
    const top = (8 - values.length) & 7;
    this.view.setUint16(X87_CONTROL, control, true);
    this.status = top << 11;
    this.view.setUint8(
      X87_TAG,
      values.reduce((tags, _, i) => tags | (1 << ((top + i) & 7)), 0),
    );
    values.forEach((value, i) => {
      const at = X87 + 16 * ((top + i) & 7);
      this.view.setBigUint64(at, BigInt.asUintN(64, value), true);
      this.view.setUint16(at + 8, Number(value >> 64n), true);
    });
  }

  /** Runs hexadecimal code and HLT in 64-bit mode; the vector of the exception that ended it, or undefined. */
  run(text: string): number | undefined {
    this.bare.long();
    const end = this.bare.vectorOf([...code(text), 0xf4]);
    return typeof end === "number" ? end : undefined;
  }
}
