/**
 * Of our own packages, which may import which: ARCHITECTURE.md's table. `wire` is open to all. Third-party packages by name.
 * `testing`: those that tests and what is under src/testing/ may import besides, from the devDependencies.
 */
export const packageTable = {
  wire: { own: [], others: ["cbor-x"] },
  hypervisor: { own: [], others: [] },
  cpu: { own: [], others: ["assemblyscript"] },
  devices: { own: ["hypervisor"], others: [] },
  "tpm-types": { own: [], others: [] },
  tpm: { own: ["tpm-types"], others: [] },
  vtpm: { own: ["tpm-types", "tpm"], others: ["commander", "picocolors"] },
  testguest: { own: [], others: [] },
  "backend-software": { own: ["hypervisor", "cpu"], others: [] },
  "backend-qemu": { own: [], others: [], testing: ["devices"] },
  paravisor: { own: ["hypervisor", "devices"], others: [] },
  vmm: {
    own: ["hypervisor", "devices", "testguest", "backend-software", "paravisor", "cpu"],
    others: ["commander", "cli-progress", "picocolors", "cli-table3", "zod", "xz-decompress", "ws", "koffi"],
  },
};

/** What tests and benches may import besides. */
export const testOnly = ["vitest", "fast-check", "typescript"];
