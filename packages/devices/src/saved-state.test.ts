import { decodeCbor, encodeCbor } from "@entresol/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DeviceStateError, SavedFields, saveDeadline } from "./saved-state.ts";

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof DeviceStateError) return error.code;
    throw error;
  }
  return "accepted";
}

const open = (state: Record<string, unknown>) => SavedFields.open("dev", { version: 1, ...state }, 1);

describe("SavedFields", () => {
  it("refuses another version and what is no object", () => {
    expect(codeOf(() => SavedFields.open("dev", { version: 2 }, 1))).toBe("bad-version");
    expect(codeOf(() => SavedFields.open("dev", {}, 1))).toBe("bad-version");
    for (const state of [null, undefined, 1, "x", [], new Uint8Array(1)]) {
      expect(codeOf(() => SavedFields.open("dev", state, 1))).toBe("bad-shape");
    }
  });

  it("names the device and the field", () => {
    expect(() => open({ tpr: 256 }).byte("tpr")).toThrow("dev.tpr is 256, must be 0 to 255");
    expect(() =>
      open({ p: [{ x: 0 }, { x: 9 }] })
        .list("p", 2)[1]!
        .integer("x", 0, 1),
    ).toThrow("dev.p[1].x is 9, must be 0 to 1");
  });

  it("tells a wrong shape from a wrong value", () => {
    expect(codeOf(() => open({ a: 1.5 }).byte("a"))).toBe("bad-shape");
    expect(codeOf(() => open({ a: "1" }).dword("a"))).toBe("bad-shape");
    expect(codeOf(() => open({}).word("a"))).toBe("bad-shape");
    expect(codeOf(() => open({ a: -1 }).dword("a"))).toBe("out-of-range");
    expect(codeOf(() => open({ a: 1 }).boolean("a"))).toBe("bad-shape");
    expect(codeOf(() => open({ a: "z" }).choice("a", ["x", "y"]))).toBe("out-of-range");
    expect(codeOf(() => open({ a: [1, 2] }).integers("a", 3, 9))).toBe("bad-shape");
    expect(codeOf(() => open({ a: [1, 10] }).integers("a", 2, 9))).toBe("out-of-range");
    expect(codeOf(() => open({ a: new Uint8Array(3) }).bytes("a", 2))).toBe("bad-shape");
    expect(codeOf(() => open({}).require(false, "a <= b"))).toBe("out-of-range");
  });

  it("reads what it was given", () => {
    const fields = open({ a: 7, b: true, c: "y", d: [1, 2], e: Uint8Array.of(3), f: { g: 1 }, h: [4, 5] });
    expect(fields.byte("a")).toBe(7);
    expect(fields.boolean("b")).toBe(true);
    expect(fields.choice("c", ["x", "y"])).toBe("y");
    expect(fields.integers("d", 4, 9, 0)).toEqual([1, 2]);
    expect(fields.bytes("e", 1)).toEqual(Uint8Array.of(3));
    expect(fields.nested("f").integer("g", 0, 1)).toBe(1);
    expect(fields.bytes("h", 2)).toEqual(Uint8Array.of(4, 5));
    fields.end();
  });

  it("keeps a deadline, armed or not, over JSON and CBOR", () => {
    for (const deadline of [0, 5_000_000_000, Number.POSITIVE_INFINITY]) {
      const state = { version: 1, due: saveDeadline(deadline) };
      expect(SavedFields.open("dev", JSON.parse(JSON.stringify(state)), 1).deadline("due")).toBe(deadline);
      expect(SavedFields.open("dev", decodeCbor(encodeCbor(state)), 1).deadline("due")).toBe(deadline);
    }
    expect(codeOf(() => open({}).deadline("due"))).toBe("bad-shape");
  });

  it("refuses fields that nobody read", () => {
    expect(codeOf(() => open({ extra: 1 }).end())).toBe("bad-shape");
  });

  it("throws nothing but DeviceStateError for any value", () => {
    fc.assert(
      fc.property(fc.anything(), (value) => {
        const known = ["accepted", "bad-version", "bad-shape", "out-of-range"];
        expect(known).toContain(codeOf(() => SavedFields.open("dev", value, 1).end()));
        for (const read of [
          (f: SavedFields) => f.dword("v"),
          (f: SavedFields) => f.boolean("v"),
          (f: SavedFields) => f.deadline("v"),
          (f: SavedFields) => f.integers("v", 4, 9, 0),
          (f: SavedFields) => f.bytes("v", 4, 0),
          (f: SavedFields) => f.list("v", 1)[0]!.byte("x"),
          (f: SavedFields) => f.nested("v").byte("x"),
        ]) {
          expect(known).toContain(codeOf(() => read(open({ v: value }))));
        }
      }),
    );
  });
});
