import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";

const script = resolve(import.meta.dirname, "campaign.mjs");

function campaign(...args: string[]) {
  const cache = mkdtempSync(join(tmpdir(), "entresol-campaign-"));
  try {
    const env = { ...process.env, ENTRESOL_CACHE: cache };
    return spawnSync(process.execPath, [script, ...args], { encoding: "utf8", env });
  } finally {
    rmSync(cache, { recursive: true });
  }
}

test("an unknown campaign is refused with the list of the known ones", () => {
  const { status, stderr } = campaign("no-such-campaign");
  expect(status).toBe(2);
  expect(stderr).toContain('There is no campaign "no-such-campaign".');
  expect(stderr).toMatch(/^ {2}differential {2,}.*cases\)$/m);
});

test("a count that is not a whole number is refused by name", () => {
  const { status, stderr } = campaign("differential", "--count", "many");
  expect(status).toBe(2);
  expect(stderr).toContain('--count wants a whole number, not "many"');
});
