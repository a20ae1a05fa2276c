/* Power off by ACPI (ACPI 6.5, 4.8.3.2 and 7.4.2.5). */
import { al, ax, byte, dword, dx, eax, ecx, edx, qword, rbx } from "../assembler/index.ts";
import { FADT } from "./acpi.ts";
import type { GuestProgram } from "./guest-program.ts";

const SLP_EN = 0x2000;
const SCI_EN = 1;

/** acpi_power_off: ACPI mode if it is not on yet, then SLP_TYP and SLP_EN. Returns if the machine is still there. */
export function writePowerOff(guest: GuestProgram): void {
  const { asm, op } = guest;
  guest.routineKeeping("acpi_power_off", [rbx], () => {
    const end = asm.unique("end");
    op.cmp(qword("s5_found"), 0);
    op.je(end);
    op.mov(rbx, qword("fadt"));
    op.mov(edx, dword("pm1a_control"));
    op.in(ax, dx);
    guest.unless(
      (over) => {
        op.test(al, SCI_EN);
        op.jnz(over);
        op.cmp(dword(rbx, FADT.smiCommand), 0);
        op.je(over);
        op.mov(al, byte(rbx, FADT.acpiEnable));
        op.test(al, al);
        op.jz(over);
      },
      () => {
        op.mov(edx, dword(rbx, FADT.smiCommand));
        op.out(dx, al);
        op.mov(ecx, 100_000);
        op.mov(edx, dword("pm1a_control"));
        guest.repeat(
          () => {
            op.pause();
            op.in(ax, dx);
            op.test(al, SCI_EN);
          },
          (again) => op.loope(again),
        );
      },
    );
    op.mov(ecx, dword("s5_type"));
    op.and(ecx, 7);
    op.shl(ecx, 10);
    op.and(eax, SCI_EN);
    op.or(eax, ecx);
    op.or(eax, SLP_EN);
    op.out(dx, ax);
    op.mov(ecx, 100_000);
    guest.repeat(
      () => op.pause(),
      (again) => {
        op.dec(ecx);
        op.jnz(again);
      },
    );
    asm.label(end);
  });
}
