import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const sources = fileURLToPath(new URL(".", import.meta.url));

test("what foretells measurements asks nothing of Node: it runs in a browser", () => {
  const files = readdirSync(sources, { recursive: true, encoding: "utf8" }).filter(
    (name) => name.endsWith(".ts") && !name.endsWith(".test.ts") && !name.startsWith("testing"),
  );
  expect(files.length).toBeGreaterThan(15);
  const offending = files.filter((name) =>
    /from "node:|\bBuffer\b|\bprocess\.|\brequire\(/.test(readFileSync(join(sources, name), "utf8")),
  );
  expect(offending).toEqual([]);
});
