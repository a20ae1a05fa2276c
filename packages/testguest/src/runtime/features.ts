/* What CPUID says that checks ask for before they try it. */
import { eax, ecx, edx, qword, rax, rbx } from "../assembler/index.ts";
import type { GuestProgram } from "./guest-program.ts";

/** Variable -> bit of CPUID.1:ECX. */
const FEATURES = { has_x2apic: 21, has_deadline: 24, has_hypervisor: 31 } as const;

/** read_features: a variable each, 0 or 1; and EFER.NXE where there is NX, with the bit that page tables may then use. */
export function writeFeatures(guest: GuestProgram): void {
  const { op } = guest;
  for (const name of Object.keys(FEATURES)) guest.variable(name);
  guest.variable("no_execute_bit");
  guest.routineKeeping("read_features", [rbx], () => {
    op.mov(eax, 1);
    op.xor(ecx, ecx);
    op.cpuid();
    for (const [name, bit] of Object.entries(FEATURES)) {
      op.mov(eax, ecx);
      op.shr(eax, bit);
      op.and(eax, 1);
      op.mov(qword(name), rax);
    }
    guest.unless(
      (over) => {
        op.mov(eax, 0x80000001);
        op.cpuid();
        op.bt(edx, 20);
        op.jae(over);
      },
      () => {
        op.mov(ecx, 0xc0000080);
        op.rdmsr();
        op.or(eax, 0x800);
        op.wrmsr();
        op.mov(rax, 1n << 63n);
        op.mov(qword("no_execute_bit"), rax);
      },
    );
  });
}
