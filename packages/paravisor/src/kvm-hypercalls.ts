import type { Registers } from "@entresol/hypervisor";

/*
 * KVM's hypercalls, as far as test kernels made for KVM rely on them: Documentation/virt/kvm/x86/hypercalls.rst of Linux. The number
 * is in RAX, arguments are in RBX, RCX, RDX and RSI, RAX takes the answer; outside of 64-bit mode all have 32 bits. No other
 * guest meets them: CPUID does not tell of KVM.
 */

/** How an inter-processor interrupt reaches the local APIC `apicId`. False when there is none, or it does not take it. */
export interface InterruptTargets {
  fixed(apicId: number, vector: number): boolean;
  nmi(apicId: number): boolean;
}

/** KVM_HC_SEND_IPI. */
const sendInterrupts = 10;
/** KVM_ENOSYS, KVM_EPERM and KVM_EINVAL, negative as answers. */
const unknownCall = -1000n;
const forbidden = -1n;
const invalid = -22n;

/** Bits of the interrupt command that count: vector, delivery mode, destination mode. */
const modeOf = (command: number): number => (command >>> 8) & 7;
const logical = 0x800;
const modeFixed = 0;
const modeNmi = 4;

/** Attribute L of CS. */
const longMode = 0x2000;
/** The privilege level of SS, which is the processor's. */
const privilege = 0x60;

/** Answers the hypercall that `registers` hold. Programs above privilege level 0 are refused. */
export function answerKvmHypercall(registers: Registers, targets: InterruptTargets): void {
  const width = (registers.segment("cs").attributes & longMode) !== 0 ? 64 : 32;
  const argument = (name: "rax" | "rbx" | "rcx" | "rdx" | "rsi"): bigint =>
    BigInt.asUintN(width, registers.get(name));
  const answer = (): bigint => {
    if ((registers.segment("ss").attributes & privilege) !== 0) return forbidden;
    if (argument("rax") !== BigInt(sendInterrupts)) return unknownCall;
    return sendTo(
      argument("rbx") | (argument("rcx") << BigInt(width)),
      argument("rdx"),
      Number(argument("rsi") & 0xffff_ffffn),
      targets,
    );
  };
  registers.set("rax", BigInt.asUintN(width, answer()));
}

/** Sends `command` to each APIC id of `bitmap`, which begins with id `lowest`; gives how many took it. */
function sendTo(bitmap: bigint, lowest: bigint, command: number, targets: InterruptTargets): bigint {
  const mode = modeOf(command);
  if ((command & logical) !== 0 || (mode !== modeFixed && mode !== modeNmi)) return invalid;
  // APIC ids have 32 bits, so what begins beyond them has no targets.
  if (lowest > 0xffff_ffffn) return 0n;
  let taken = 0n;
  let id = Number(lowest);
  for (let rest = bitmap; rest !== 0n; rest >>= 1n, id++) {
    if ((rest & 1n) === 0n) continue;
    if (mode === modeNmi ? targets.nmi(id) : targets.fixed(id, command & 0xff)) taken++;
  }
  return taken;
}
