import type { Place } from "../check.ts";
import type { Shown } from "../submission/kind.ts";

/* Bytes of the evidence with those marked that decided. */

/** How the view marks bytes: on a terminal by colour, elsewhere by brackets. */
export interface Marking {
  mark(text: string): string;
  dim(text: string): string;
}

/** Marks that survive in plain text. */
export const plainMarking: Marking = { mark: (text) => text, dim: (text) => text };

const ROW = 16;
/** Longer places are shown by their first and last rows. */
const MOST_ROWS = 8;

interface Range {
  readonly from: number;
  readonly to: number;
}

/** Places of one input, joined where they touch, in order. */
function joined(places: readonly Place[], size: number): Range[] {
  const ranges: { from: number; to: number }[] = [];
  const inside = places
    .map(({ offset, length }) => ({ from: Math.min(offset, size), to: Math.min(offset + length, size) }))
    .filter(({ from, to }) => to > from)
    .toSorted((a, b) => a.from - b.from);
  for (const range of inside) {
    const last = ranges.at(-1);
    if (last !== undefined && range.from <= last.to) last.to = Math.max(last.to, range.to);
    else ranges.push({ ...range });
  }
  return ranges;
}

const digits = (value: number, count: number): string => value.toString(16).padStart(count, "0");
const isMarked = (ranges: readonly Range[], at: number): boolean =>
  ranges.some(({ from, to }) => at >= from && at < to);

function row(bytes: Uint8Array, at: number, ranges: readonly Range[], { mark, dim }: Marking): string {
  let hexes = "";
  let letters = "";
  for (let i = at; i < at + ROW; i++) {
    const marked = isMarked(ranges, i);
    // The bracket stands where the space between bytes would.
    const before =
      marked && !(i > at && isMarked(ranges, i - 1))
        ? "["
        : !marked && i > at && isMarked(ranges, i - 1)
          ? "]"
          : " ";
    const byte = bytes[i];
    const text = byte === undefined ? "  " : digits(byte, 2);
    hexes += before + (marked ? mark(text) : dim(text));
    letters += byte === undefined ? " " : byte >= 0x20 && byte <= 0x7e ? String.fromCharCode(byte) : ".";
  }
  const last = isMarked(ranges, at + ROW - 1) ? "]" : " ";
  return `  ${dim(digits(at, 6))} ${hexes}${last} ${dim(letters)}`;
}

/** Names of the fields that a range touches, with what they are. */
function fieldsOf({ map }: Shown, { from, to }: Range): string[] {
  if (map === undefined) return [];
  const names = new Set<string>();
  for (let at = from; at < to; ) {
    const field = map.at(at);
    if (field === undefined) {
      at++;
      continue;
    }
    names.add(`${field.path} (${digits(field.offset, 3)}, ${field.length} bytes): ${field.what}`);
    at = Math.max(at + 1, field.offset + field.length);
  }
  return [...names];
}

/** At most so many fields of one range are named. */
const MOST_FIELDS = 6;

/**
 * Lines that show the bytes at `places`, with the fields that they are and some bytes around. Places in inputs that are not `shown` are
 * left out; so is nothing else but the middle of long ranges.
 */
export function hexView(
  shown: ReadonlyMap<string, Shown>,
  places: readonly Place[],
  marking: Marking = plainMarking,
): string[] {
  const lines: string[] = [];
  for (const [name, input] of shown) {
    const { bytes } = input;
    const ranges = joined(
      places.filter((place) => place.input === name),
      bytes.length,
    );
    for (const range of ranges) {
      const length = range.to - range.from;
      lines.push(`${name}, ${length} byte${length === 1 ? "" : "s"} at 0x${digits(range.from, 3)}`);
      const fields = fieldsOf(input, range);
      for (const field of fields.slice(0, MOST_FIELDS)) lines.push(`  ${field}`);
      if (fields.length > MOST_FIELDS) lines.push(`  and ${fields.length - MOST_FIELDS} more fields`);
      const first = range.from - (range.from % ROW);
      const rows = Math.ceil((range.to - first) / ROW);
      for (let i = 0; i < rows; i++) {
        if (rows > MOST_ROWS && i === MOST_ROWS / 2) {
          lines.push(marking.dim(`  ... ${rows - MOST_ROWS} rows`));
          i = rows - MOST_ROWS / 2;
        }
        lines.push(row(bytes, first + i * ROW, ranges, marking));
      }
    }
  }
  return lines;
}
