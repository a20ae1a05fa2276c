import * as host from "./host";
import { generalProtection, invalidOpcode } from "./fault";
import {
  COUNT, CR0, CR4, CSTAR, EFER, KERNEL_GS_BASE, LSTAR, SCRATCH, SEGMENT_BASE, SFMASK, SKEW, STAR, SYSENTER_CS, SYSENTER_EIP, SYSENTER_ESP,
  TSC_AUX, TSC_OFFSET,
} from "./layout";
import { flushTlb } from "./mmu";
import { gpr, readRegister, setGpr } from "./operand";
import { supervisor } from "./privilege";
import { CR0_PG, CR4_FSGSBASE, EFER_LMA, EFER_LME, EFER_NXE, EFER_SUPPORTED, VENDOR_AMD } from "./profile";
import { FS, GS, canonical, in64 } from "./segments";
import { U_RM } from "./uop";

/* RDMSR and WRMSR: the registers that the core keeps; all others are the host's. Also the time-stamp counter and the bases of FS and GS. */

/** Numbers of general registers. */
const RAX: u32 = 0, RCX: u32 = 1, RDX: u32 = 2;

/** The halves of a 64-bit value in EDX:EAX. */
export function setPair(value: u64): void {
  setGpr(RAX, value & 0xffffffff);
  setGpr(RDX, value >> 32);
}
function pair(): u64 { return gpr(RAX) & 0xffffffff | gpr(RDX) << 32; }

/** The time-stamp counter, in ns of virtual time (1 GHz). */
export function timestamp(): u64 { return load<u64>(COUNT) + load<u64>(SKEW) + load<u64>(TSC_OFFSET); }

export function readMsr(): void {
  supervisor();
  const msr = <u32>gpr(RCX);
  let value: u64 = 0;
  switch (msr) {
    case 0x10: value = timestamp(); break;
    case 0x174: value = load<u64>(SYSENTER_CS); break;
    case 0x175: value = load<u64>(SYSENTER_ESP); break;
    case 0x176: value = load<u64>(SYSENTER_EIP); break;
    case 0xc0000080: value = load<u64>(EFER); break;
    case 0xc0000081: value = load<u64>(STAR); break;
    case 0xc0000082: value = load<u64>(LSTAR); break;
    case 0xc0000083: value = load<u64>(CSTAR); break;
    case 0xc0000084: value = load<u64>(SFMASK); break;
    case 0xc0000100: value = base(FS); break;
    case 0xc0000101: value = base(GS); break;
    case 0xc0000102: value = load<u64>(KERNEL_GS_BASE); break;
    case 0xc0000103: value = <u64>load<u32>(TSC_AUX); break;
    default:
      if (host.readMsr(msr) == 0) generalProtection();
      value = load<u64>(SCRATCH);
  }
  setPair(value);
}

export function writeMsr(): void {
  supervisor();
  const msr = <u32>gpr(RCX);
  const value = pair();
  switch (msr) {
    case 0x10:
      store<u64>(TSC_OFFSET, value - load<u64>(COUNT) - load<u64>(SKEW));
      // The host learns of it, since deadlines in units of the TSC now lie elsewhere. The register is the core's: it cannot refuse.
      host.writeMsr(msr, <u32>value, <u32>(value >> 32));
      break;
    case 0x174: store<u64>(SYSENTER_CS, value & 0xffffffff); break;
    case 0x175: writeSysenter(SYSENTER_ESP, value); break;
    case 0x176: writeSysenter(SYSENTER_EIP, value); break;
    case 0xc0000080: writeEfer(value); break;
    case 0xc0000081: store<u64>(STAR, value); break;
    case 0xc0000082: storeCanonical(LSTAR, value); break;
    case 0xc0000083: storeCanonical(CSTAR, value); break;
    case 0xc0000084: store<u64>(SFMASK, value & 0xffffffff); break;
    case 0xc0000100: storeCanonical(SEGMENT_BASE + (<usize>FS << 3), value); break;
    case 0xc0000101: storeCanonical(SEGMENT_BASE + (<usize>GS << 3), value); break;
    case 0xc0000102: storeCanonical(KERNEL_GS_BASE, value); break;
    case 0xc0000103: store<u64>(TSC_AUX, value & 0xffffffff); break;
    default: if (host.writeMsr(msr, <u32>value, <u32>(value >> 32)) == 0) generalProtection();
  }
}

/** AMD has no 64-bit SYSENTER: its registers have 32 bits and the rest is ignored. Intel: canonical, else #GP. */
function writeSysenter(at: usize, value: u64): void {
  if (VENDOR_AMD) store<u64>(at, value & 0xffffffff);
  else storeCanonical(at, value);
}

function storeCanonical(at: usize, value: u64): void {
  if (!canonical(value)) generalProtection();
  store<u64>(at, value);
}

/** LME changes only while paging is off; LMA follows CR0.PG. */
function writeEfer(value: u64): void {
  if ((value & ~(EFER_SUPPORTED | EFER_LMA)) != 0) generalProtection();
  const before = load<u64>(EFER);
  if (((value ^ before) & EFER_LME) != 0 && (load<u64>(CR0) & CR0_PG) != 0) generalProtection();
  const after = value & EFER_SUPPORTED | before & EFER_LMA;
  store<u64>(EFER, after);
  if (((after ^ before) & EFER_NXE) != 0) flushTlb();
}

// ---- FS and GS bases ----

@inline export function base(index: u32): u64 { return load<u64>(SEGMENT_BASE + (<usize>index << 3)); }

export function swapGs(): void {
  if (!in64()) invalidOpcode();
  supervisor();
  const at = SEGMENT_BASE + (<usize>GS << 3);
  const user = load<u64>(at);
  store<u64>(at, load<u64>(KERNEL_GS_BASE));
  store<u64>(KERNEL_GS_BASE, user);
}

export function checkBaseInstruction(): void { if (!in64() || (load<u64>(CR4) & CR4_FSGSBASE) == 0) invalidOpcode(); }

export function writeBase(p: usize, size: u32, index: u32): void {
  checkBaseInstruction();
  storeCanonical(SEGMENT_BASE + (<usize>index << 3), readRegister(load<u8>(p, U_RM), size));
}
