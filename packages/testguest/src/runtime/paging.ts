/*
 * The guest's own page tables (SDM 3A, 4.5): the first 4 GiB mapped to themselves by 2 MiB pages, supervisor only,
 * and a sandbox of a few 4 KiB pages at 8 GiB with every kind of permission, for the checks of faults and user mode.
 */
import { cr3, dword, eax, ecx, memory, qword, rax, rdi } from "../assembler/index.ts";
import type { GuestProgram } from "./guest-program.ts";

const PRESENT = 1n;
const WRITABLE = 2n;
const USER = 4n;
const LARGE = 0x80n;
const NO_EXECUTE = 1n << 63n;

/** Virtual address of the sandbox's first page. */
export const SANDBOX = 0x2_0000_0000n;

/** The sandbox's pages: what lies there and with which rights. */
export const SANDBOX_PAGES = {
  absent: { index: 0, frame: undefined, flags: 0n },
  readOnly: { index: 1, frame: "sandbox_frame_a", flags: PRESENT },
  noExecute: { index: 2, frame: "sandbox_frame_a", flags: PRESENT | WRITABLE | NO_EXECUTE },
  moving: { index: 3, frame: "sandbox_frame_a", flags: PRESENT | WRITABLE },
  userCode: { index: 4, frame: "user_code", flags: PRESENT | USER },
  userStack: { index: 5, frame: "user_stack", flags: PRESENT | WRITABLE | USER },
  fresh: { index: 6, frame: "sandbox_frame_b", flags: PRESENT | WRITABLE },
} as const satisfies Record<string, { index: number; frame: string | undefined; flags: bigint }>;

export type SandboxPage = keyof typeof SANDBOX_PAGES;

/** Virtual address of a sandbox page. */
export function sandboxAddress(page: SandboxPage): bigint {
  return SANDBOX + BigInt(SANDBOX_PAGES[page].index) * 0x1000n;
}

/** The page-table entry of a sandbox page, in memory. */
export function sandboxEntry(page: SandboxPage) {
  return qword("sandbox_table", SANDBOX_PAGES[page].index * 8);
}

/** paging_setup: builds the tables and switches to them. */
export function writePaging(guest: GuestProgram): void {
  const { op } = guest;
  for (const name of ["page_map", "page_pointers", "sandbox_directory", "sandbox_table"]) {
    guest.variable(name, 4096, 4096);
  }
  guest.variable("page_directories", 4 * 4096, 4096);
  for (const name of ["sandbox_frame_a", "sandbox_frame_b", "user_stack"]) guest.variable(name, 4096, 4096);

  guest.routineKeeping("paging_setup", [rdi], () => {
    const point = (table: string, index: number, to: string, flags: bigint) => {
      op.lea(rax, memory(to));
      op.or(rax, Number(flags & 0xfffn));
      if ((flags & NO_EXECUTE) !== 0n) {
        // Bit 63 is reserved unless EFER.NXE is on (SDM 3A, 4.5.4).
        op.or(rax, qword("no_execute_bit"));
      }
      op.mov(qword(table, index * 8), rax);
    };
    point("page_map", 0, "page_pointers", PRESENT | WRITABLE | USER);
    for (let i = 0; i < 4; i++) {
      op.lea(rax, memory("page_directories", i * 4096));
      op.or(rax, Number(PRESENT | WRITABLE));
      op.mov(qword("page_pointers", i * 8), rax);
    }
    op.lea(rdi, memory("page_directories"));
    op.mov(eax, Number(PRESENT | WRITABLE | LARGE));
    op.mov(ecx, 2048);
    guest.repeat(
      () => {
        op.mov(qword(rdi), rax);
        op.add(rdi, 8);
        op.add(rax, 0x200000);
      },
      (again) => {
        op.dec(ecx);
        op.jnz(again);
      },
    );
    point("page_pointers", Number(SANDBOX >> 30n), "sandbox_directory", PRESENT | WRITABLE | USER);
    point("sandbox_directory", 0, "sandbox_table", PRESENT | WRITABLE | USER);
    for (const { index, frame, flags } of Object.values(SANDBOX_PAGES)) {
      if (frame !== undefined) point("sandbox_table", index, frame, flags);
    }
    op.mov(dword("sandbox_frame_a"), 0xaaaa);
    op.mov(dword("sandbox_frame_b"), 0xbbbb);
    op.lea(rax, memory("page_map"));
    op.mov(cr3, rax);
  });
}
