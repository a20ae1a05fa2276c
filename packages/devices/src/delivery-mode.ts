/** What a message asks for: bits 10:8 of ICR, LVT and IOAPIC entries and MSI data. 3 is reserved everywhere. */
export const deliveryMode = {
  fixed: 0,
  lowestPriority: 1,
  smi: 2,
  nmi: 4,
  init: 5,
  startup: 6,
  external: 7,
} as const;
