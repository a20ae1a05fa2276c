/**
 * Of our own packages, which may import which: ARCHITECTURE.md's table. `wire` is open to all. Third-party packages by name.
 * `browser`: imports nothing of Node outside src/cli/, so that it runs in a browser.
 * `testing`: those that tests and what is under src/testing/ may import besides, from the devDependencies.
 */
export const packageTable = {
  wire: { own: [], others: ["cbor-x"], browser: true },
  hypervisor: { own: [], others: [] },
  cpu: { own: [], others: ["assemblyscript"] },
  devices: { own: ["hypervisor"], others: [] },
  "tpm-types": { own: [], others: [], browser: true },
  tpm: { own: ["tpm-types"], others: [] },
  evidence: { own: ["tpm-types"], others: [], browser: true },
  vtpm: {
    own: ["devices", "tpm-types", "tpm"],
    others: ["asn1js", "cli-progress", "commander", "picocolors", "pkijs"],
  },
  igvm: { own: [], others: [], browser: true },
  attestation: {
    own: ["evidence", "tpm-types", "igvm"],
    browser: true,
    others: [
      "@hono/node-server",
      "@hono/zod-openapi",
      "cli-progress",
      "commander",
      "hono",
      "jose",
      "picocolors",
      "prom-client",
      "zod",
    ],
  },
  testguest: { own: [], others: [] },
  "backend-software": { own: ["hypervisor", "cpu"], others: [] },
  "backend-qemu": { own: [], others: [], testing: ["devices"] },
  paravisor: { own: ["hypervisor", "devices"], others: [] },
  vmm: {
    own: [
      "hypervisor",
      "devices",
      "testguest",
      "backend-software",
      "paravisor",
      "cpu",
      "tpm-types",
      "tpm",
      "vtpm",
      "evidence",
    ],
    others: ["commander", "cli-progress", "picocolors", "cli-table3", "zod", "xz-decompress", "ws", "koffi"],
  },
};

/** What tests and benches may import besides. */
export const testOnly = ["vitest", "fast-check", "typescript", "pkijs", "cborg"];
