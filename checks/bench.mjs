// npm run bench [-- --json] [-- --package NAME]: runs packages/*/bench/*.mjs, each of which exports `bench()` that gives rows
// { case, ours, peer, peerName, unit, ratio }. ratio > 1: ahead of the peer or floor. A row without its peer has no ratio.
import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const root = resolve(import.meta.dirname, "..");
const args = process.argv.slice(2);
const json = args.includes("--json");
const only = args.includes("--package") ? args[args.indexOf("--package") + 1] : undefined;
const number = (value) =>
  value === undefined || value === null
    ? "-"
    : value >= 1000
      ? Math.round(value).toLocaleString("en-US")
      : value.toPrecision(3);

const rows = [];
for (const name of readdirSync(join(root, "packages"))) {
  if (only !== undefined && name !== only) continue;
  const folder = join(root, "packages", name, "bench");
  if (!existsSync(folder)) continue;
  for (const file of readdirSync(folder)
    .filter((f) => f.endsWith(".mjs"))
    .sort()) {
    if (!json) process.stderr.write(`bench: ${name}/${file}\n`);
    const { bench } = await import(pathToFileURL(join(folder, file)).href);
    for (const row of await bench()) rows.push(row);
  }
}
const ratios = rows.map(({ ratio }) => ratio).filter((ratio) => Number.isFinite(ratio) && ratio > 0);
const geomean =
  ratios.length > 0
    ? Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length)
    : null;
if (json) {
  console.log(JSON.stringify({ rows, geomean }));
} else {
  const table = [
    ["case", "ours", "peer or floor", "unit", "ratio"],
    ...rows.map((row) => [
      row.case,
      number(row.ours),
      `${number(row.peer)} ${row.peerName ?? ""}`.trim(),
      row.unit,
      number(row.ratio),
    ]),
  ];
  const widths = table[0].map((_, column) => Math.max(...table.map((row) => row[column].length)));
  for (const row of table)
    console.log(
      row
        .map((cell, i) => (i === 0 || i === 3 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
        .join("  ")
        .trimEnd(),
    );
  console.log(`geometric mean of the ratios: ${number(geomean)}`);
}
