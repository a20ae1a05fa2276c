import { DOCUMENTS } from "./checks/check.ts";
import { CHECK_GROUPS } from "./test-guest.ts";

const INTRODUCTION = `# The built-in test guest

This file is printed from the table of checks (\`CHECK_GROUPS\` in \`packages/testguest/src/test-guest.ts\`), which also makes the
image; \`test-guest.test.ts\` keeps the two alike. What the guest is for: a program small enough to understand that tries every part of
the machine, so that a fault shows as one named line and not as a kernel that hangs. \`entresol boot --guest test\` runs it on a machine
with all that its checks need, \`--check NAME\` one check alone, and \`--check list\` shows the names with their rules.

## The image

| rule | file | test |
|---|---|---|
| A flat binary, entered at its load address (2 MiB unless told otherwise) in 64-bit mode, the first 4 GiB mapped to themselves, IF = 0 | \`guest.ts\` | \`test-guest.test.ts\` |
| RSI points to the RSDP, or to a Linux zero page (acpi_rsdp_addr at 0x70), or is 0; then the EBDA and 0xE0000 to 0xFFFFF are searched | \`runtime/acpi.ts\` | \`test-guest.test.ts\` |
| It brings its own GDT, IDT, TSS and page tables, and clears the memory behind the image that it uses, up to \`memoryEnd\` | \`guest.ts\`, \`runtime/\` | \`test-guest.test.ts\` |
| Other processors start at physical 0x70000 | \`checks/processors.ts\` | \`test-guest.test.ts\` |
| \`buildTestGuest({ only })\` is a guest of one check, with the set-up and tear-down of its group; it passes where the whole guest passes it | \`test-guest.ts\` | \`test-guest.test.ts\`; packages/vmm/src/test-guest.test.ts "%s: %s passes alone" |
| On our machine every check passes, with 1, 2 and 4 processors, and none is skipped with 2 or more | \`checks/\` | packages/vmm/src/test-guest.test.ts "passes every check with %i processors, and skips none" |
| Equal options give equal bytes | \`guest.ts\` | \`test-guest.test.ts\` |
| \`wrapMultiboot\` makes a file that multiboot 1 loaders start; the tests run it under QEMU, the independent machine, where that is installed; what QEMU does otherwise is listed there by check, with what it does (\`QEMU_DIFFERENCES\`) | \`multiboot.ts\` | \`test-guest.test.ts\` |

## The output, on COM1

| line | meaning |
|---|---|
| \`ok NAME\` | the rule holds |
| \`FAIL NAME got=0x.. want=0x..\` | it does not; \`want=LOW..HIGH\` is a range, both ends allowed |
| \`skip NAME (why)\` | the machine says that it lacks what the check is about |
| \`FAIL unexpected-exception got=VECTOR want=0x0\` | an exception that no check expected ended the run; the next line says where |
| \`DONE PASSED FAILED\` | the last result line, in decimal; then power off through ACPI S5 |

A check may need what not every machine has, and is skipped there: interrupt lines that the guest moves (specs/test-device.md), the PCI
function for tests (specs/pci.md), x2APIC mode, a TSC deadline, an HPET, more than one processor.

Lines that begin with two blanks are for the reader. Waiting is bounded, by the TSC: a timer that never comes is a FAIL, not a hang.
`;

/** The text of specs/test-guest.md. */
export function testGuestSpecification(): string {
  const groups = CHECK_GROUPS.map(({ title, checks }) => {
    const rows = checks.map(({ name, rule, clause }) => `| \`${name}\` | ${rule} | ${clause} |`);
    return `\n### ${title}\n\n| check | rule | clause |\n|---|---|---|\n${rows.join("\n")}\n`;
  });
  const documents = Object.entries(DOCUMENTS).map(([short, title]) => `| ${short} | ${title} |`);
  return [
    INTRODUCTION,
    "\n## The checks\n",
    ...groups,
    `\n## Documents\n\n| short | title |\n|---|---|\n${documents.join("\n")}\n`,
  ].join("");
}
