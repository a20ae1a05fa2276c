import type { Place, Shown } from "@entresol/attestation";
import { element } from "./element.ts";

/** Bytes in a row. */
const ROW = 16;
const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0");
const letter = (byte: number): string => (byte >= 0x20 && byte <= 0x7e ? String.fromCharCode(byte) : "·");

export type Tone = "passed" | "failed" | "not-run";

interface Input {
  readonly shown: Shown;
  /** One for each byte, in the middle column. */
  readonly cells: readonly HTMLElement[];
  readonly letters: readonly HTMLElement[];
  readonly view: HTMLElement;
  readonly tab: HTMLButtonElement;
}

/**
 * The bytes of the evidence, with names for all of them: what a check decided by is marked, and a cursor (arrow keys, pointer) reads the field
 * under it.
 */
export class HexPanel {
  readonly element: HTMLElement;
  readonly #inputs = new Map<string, Input>();
  readonly #caption = element("div", { class: "caption", role: "status" });
  readonly #tabs = element("div", { class: "tabs", role: "tablist", "aria-label": "Inputs" });
  readonly #scroll = element("div", { class: "bytes-scroll", id: "bytes" });
  #current: Input | undefined;
  #cursor = 0;
  #marked: HTMLElement[] = [];

  constructor(shown: ReadonlyMap<string, Shown>) {
    for (const [name, input] of shown) this.#add(name, input);
    this.#tabs.hidden = this.#inputs.size < 2;
    this.element = element(
      "section",
      { class: "panel bytes", "aria-labelledby": "bytes-title" },
      element("h2", { id: "bytes-title" }, "The bytes"),
      this.#tabs,
      this.#caption,
      this.#scroll,
      element(
        "p",
        { class: "hint" },
        "Click a byte, or use the arrow keys, to read the field it belongs to.",
      ),
    );
    const [first] = this.#inputs.keys();
    if (first !== undefined) this.#open(first);
  }

  #add(name: string, shown: Shown): void {
    const cells: HTMLElement[] = [];
    const letters: HTMLElement[] = [];
    const rows: HTMLElement[] = [];
    const { bytes } = shown;
    const bands = fieldBands(shown);
    for (let at = 0; at < bytes.length; at += ROW) {
      const values = element("span", { class: "values" });
      const text = element("span", { class: "letters", "aria-hidden": "true" });
      for (let i = at; i < Math.min(at + ROW, bytes.length); i++) {
        const byte = bytes[i] as number;
        const band = bands[i] === 1 ? "odd" : "";
        const cell = element(
          "span",
          { class: byte === 0 ? `zero ${band}` : band, "data-at": i },
          hex(byte, 2),
        );
        const character = element("span", { "data-at": i }, letter(byte));
        cells.push(cell);
        letters.push(character);
        values.append(cell);
        text.append(character);
      }
      rows.push(
        element("div", { class: "row" }, element("span", { class: "offset" }, hex(at, 4)), values, text),
      );
    }
    const view = element(
      "div",
      {
        class: "view",
        tabindex: 0,
        role: "application",
        "aria-roledescription": "hex view",
        "aria-label": `${name}, ${bytes.length} bytes`,
        keydown: (event) => this.#key(event as KeyboardEvent),
        click: (event) => this.#point(event),
        hidden: true,
      },
      ...rows,
    );
    const tab = element(
      "button",
      {
        type: "button",
        role: "tab",
        "aria-selected": "false",
        "aria-controls": "bytes",
        click: () => this.#open(name),
      },
      name,
    );
    this.#tabs.append(tab);
    this.#scroll.append(view);
    this.#inputs.set(name, { shown, cells, letters, view, tab });
  }

  #open(name: string): void {
    const input = this.#inputs.get(name);
    if (input === undefined || input === this.#current) return;
    for (const other of this.#inputs.values()) {
      const chosen = other === input;
      other.view.hidden = !chosen;
      other.tab.setAttribute("aria-selected", String(chosen));
    }
    this.#current = input;
    this.#cursor = 0;
  }

  /** Marks the bytes at `places`, and shows the first of them. Gives false when none of them is here. */
  mark(places: readonly Place[], tone: Tone): boolean {
    for (const cell of this.#marked) cell.removeAttribute("data-mark");
    this.#marked = [];
    const here = places.filter(({ input, length }) => length > 0 && this.#inputs.has(input));
    const [first] = here;
    if (first === undefined) {
      this.#caption.replaceChildren(
        element(
          "p",
          {},
          places.length === 0
            ? "No bytes decide this alone."
            : "The bytes that decide this are not in the evidence itself.",
        ),
      );
      return false;
    }
    this.#open(first.input);
    for (const { input, offset, length } of here) {
      const { cells, letters } = this.#inputs.get(input) as Input;
      for (let at = offset; at < Math.min(offset + length, cells.length); at++) {
        for (const cell of [cells[at], letters[at]]) {
          if (cell === undefined) continue;
          cell.setAttribute("data-mark", tone);
          this.#marked.push(cell);
        }
      }
    }
    this.#describe(here.filter(({ input }) => input === first.input));
    this.#setCursor(first.offset, false);
    this.#reveal(first.offset);
    return true;
  }

  /** Names the fields that the places touch, or says how many they are. */
  #describe(places: readonly Place[]): void {
    const MOST = 4;
    const fields = new Map<string, Field>();
    for (const { offset, length } of places)
      for (let at = offset; at < offset + length; ) {
        const field = this.#current?.shown.map?.at(at);
        if (field !== undefined) fields.set(field.path, field);
        at = field === undefined ? at + 1 : Math.max(at + 1, field.offset + field.length);
      }
    if (fields.size > 0 && fields.size <= MOST) {
      this.#caption.replaceChildren(...[...fields.values()].map(fieldLine));
      return;
    }
    const names = [...fields.keys()];
    const count = places.reduce((sum, { length }) => sum + length, 0);
    const where =
      places.length === 1 ? `at 0x${hex(places[0]?.offset ?? 0, 3)}` : `in ${places.length} places`;
    this.#caption.replaceChildren(
      element("p", {}, element("strong", {}, `${count} byte${count === 1 ? "" : "s"}`), ` ${where}`),
      ...(names.length === 0
        ? []
        : [
            element(
              "p",
              { class: "hint" },
              `${names.length} fields, among them ${names.slice(0, 2).join(", ")} and ${names.at(-1)}`,
            ),
          ]),
    );
  }

  #setCursor(at: number, describe: boolean): void {
    const input = this.#current;
    if (input === undefined || input.cells.length === 0) return;
    input.cells[this.#cursor]?.removeAttribute("data-cursor");
    this.#cursor = Math.max(0, Math.min(at, input.cells.length - 1));
    input.cells[this.#cursor]?.setAttribute("data-cursor", "");
    if (!describe) return;
    const field = input.shown.map?.at(this.#cursor);
    this.#caption.replaceChildren(
      field === undefined
        ? element("p", {}, `0x${hex(this.#cursor, 3)}: no field has this byte`)
        : fieldLine(field),
    );
  }

  #reveal(at: number): void {
    const cell = this.#current?.cells[at];
    if (cell === undefined) return;
    // Only the panel scrolls, not the page under the reader's hands.
    const { top } = cell.getBoundingClientRect();
    const box = this.#scroll.getBoundingClientRect();
    if (top < box.top + 24 || top > box.bottom - 48) this.#scroll.scrollTop += top - box.top - box.height / 3;
  }

  #key(event: KeyboardEvent): void {
    const step = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -ROW,
      ArrowDown: ROW,
      PageUp: -8 * ROW,
      PageDown: 8 * ROW,
    }[event.key];
    const size = this.#current?.cells.length ?? 0;
    const to =
      event.key === "Home"
        ? 0
        : event.key === "End"
          ? size - 1
          : step === undefined
            ? undefined
            : this.#cursor + step;
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (to < 0 || to >= size) return;
    this.#setCursor(to, true);
    this.#reveal(to);
  }

  #point({ target }: Event): void {
    const at = target instanceof HTMLElement ? target.dataset["at"] : undefined;
    if (at !== undefined) this.#setCursor(Number(at), true);
  }
}

interface Field {
  readonly path: string;
  readonly offset: number;
  readonly length: number;
  readonly what: string;
  readonly spec: string;
}

function fieldLine({ path, offset, length, what, spec }: Field): HTMLElement {
  return element(
    "p",
    {},
    element("strong", {}, path),
    ` ${what}`,
    element(
      "span",
      { class: "hint" },
      ` 0x${hex(offset, 3)}, ${length} byte${length === 1 ? "" : "s"} · ${spec}`,
    ),
  );
}

/** For each byte 0 or 1, changing from field to field, so that their borders are seen. */
function fieldBands({ bytes, map }: Shown): Uint8Array {
  const bands = new Uint8Array(bytes.length);
  if (map === undefined) return bands;
  let band = 0;
  for (let at = 0; at < bytes.length; ) {
    const field = map.at(at);
    const end = field === undefined ? at + 1 : Math.max(at + 1, field.offset + field.length);
    bands.fill(field === undefined ? 0 : band, at, end);
    if (field !== undefined) band ^= 1;
    at = end;
  }
  return bands;
}
