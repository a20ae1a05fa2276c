import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

// Tests run against the sources, so that an edit is seen without a build; only the processor's wasm is built first.
export default defineConfig({
  resolve: {
    alias: [
      {
        find: /^@entresol\/(.+)$/,
        replacement: `${fileURLToPath(new URL("./packages/", import.meta.url))}$1/src/index.ts`,
      },
    ],
  },
  test: {
    setupFiles: "./checks/property-seed.ts",
    globalSetup: "./checks/peers.mjs",
    include: ["packages/*/src/**/*.test.ts", "checks/**/*.test.ts", "examples/**/*.test.ts"],
    testTimeout: 60_000,
    // Its own choice is one less than the processors: one, on a machine of two.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    reporters: ["default", "./checks/closing-line.mjs"],
  },
});
