import Table from "cli-table3";
import pc from "picocolors";
import type { VmStatistics } from "../inspection.ts";

/** What a run of the command measured. Times in seconds of the host's clock; CPU time is the whole process's, all threads. */
export interface RunFigures {
  readonly guest: string;
  /** From power-on, or from the start of resuming, to the guest's prompt; undefined when it was not reached. */
  readonly bootSeconds: number | undefined;
  readonly resumed: boolean;
  readonly wallSeconds: number;
  readonly cpuSeconds: number;
  readonly residentBytes: number;
  readonly statistics: VmStatistics;
}

const count = (value: number): string => Math.round(value).toLocaleString("en-US");
const seconds = (value: number): string => `${value.toFixed(2)} s`;
const percent = (part: number, whole: number): string =>
  whole > 0 ? `${((100 * part) / whole).toFixed(1)} %` : "";

const plainBorders = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
  middle: "  ",
};

function table(head: string[], rows: string[][]): string {
  const result = new Table({
    chars: plainBorders,
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
    colAligns: (rows[0] ?? head).map((_, i) => (i === 0 ? "left" : "right")),
    head: head.map((text) => pc.bold(text)),
  });
  result.push(...rows);
  return result.toString();
}

/** The table that is printed when the guest is left. */
export function formatReport(figures: RunFigures): string {
  const { statistics } = figures;
  const parts: string[] = [];
  const rows: string[][] = [["guest", figures.guest]];
  if (figures.bootSeconds !== undefined)
    rows.push([figures.resumed ? "resumed in" : "boot time", seconds(figures.bootSeconds)]);
  if (statistics.instructions !== undefined) {
    rows.push(["instructions", count(statistics.instructions)]);
    if (!figures.resumed)
      rows.push(["instructions/s of CPU time", count(statistics.instructions / figures.cpuSeconds)]);
  }
  rows.push(
    ["guest time", seconds(statistics.guestTime / 1e9)],
    ["CPU time of the host", seconds(figures.cpuSeconds)],
    ["memory of the host", `${Math.round(figures.residentBytes / 2 ** 20)} MiB`],
  );
  parts.push(table([], rows));

  const exits = Object.entries(statistics.exits).filter(([, n]) => n > 0);
  const allExits = exits.reduce((sum, [, n]) => sum + n, 0);
  parts.push(
    table(
      ["exit", "count", "share"],
      exits.sort(([, a], [, b]) => b - a).map(([kind, n]) => [kind, count(n), percent(n, allExits)]),
    ),
  );

  const devices = statistics.devices
    .filter(({ reads, writes }) => reads + writes > 0)
    .sort((a, b) => b.reads + b.writes - a.reads - a.writes);
  parts.push(
    table(
      ["device", "reads", "writes"],
      devices.map(({ name, reads, writes }) => [name, count(reads), count(writes)]),
    ),
  );

  const interrupts = Object.entries(statistics.interrupts).sort(([, a], [, b]) => b - a);
  if (interrupts.length > 0)
    parts.push(
      table(
        ["interrupt vector", "count"],
        interrupts.map(([vector, n]) => [vector, count(n)]),
      ),
    );
  return `${parts.join("\n\n")}\n`;
}
