import { describe, expect, it } from "vitest";
import { LineFanout, RecordingLine, SharedLine } from "./line.ts";

describe("SharedLine", () => {
  it("is high while any source drives it", () => {
    const wire = new RecordingLine();
    const shared = new SharedLine(wire);
    const a = shared.source();
    const b = shared.source();
    a.set(true);
    b.set(true);
    a.set(false);
    expect(shared.level).toBe(true);
    b.set(false);
    expect(shared.level).toBe(false);
    expect(wire.history).toEqual([true, false]);
  });

  it("counts a source once however often it drives the same level", () => {
    const wire = new RecordingLine();
    const source = new SharedLine(wire).source();
    source.set(true);
    source.set(true);
    source.set(false);
    source.set(false);
    expect(wire.history).toEqual([true, false]);
  });
});

describe("LineFanout", () => {
  it("drives every receiver", () => {
    const a = new RecordingLine();
    const b = new RecordingLine();
    const fanout = new LineFanout(a, b);
    fanout.set(true);
    fanout.set(false);
    expect(a.history).toEqual([true, false]);
    expect(b.history).toEqual([true, false]);
  });
});
