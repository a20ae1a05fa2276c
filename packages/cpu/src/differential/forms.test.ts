import { expect, test } from "vitest";
import { EXPLAINED, explainedMarkdown } from "./explained.ts";
import { form } from "./form.ts";
import { FORMS, Generator } from "./generate.ts";
import { R_CODE, R_LENGTH, R_RIP, R_SIZE } from "./record.ts";

test("the encoding of a form is read as the manuals write it", () => {
  const shld = form("SHLD", "np 0F A4 /r ib", { size: "v" });
  expect(shld).toMatchObject({
    opcode: [0x0f, 0xa4],
    modrm: "any",
    extension: -1,
    immediates: ["ib"],
    prefix: 0,
  });
  expect(form("POP", "8F /0.m")).toMatchObject({ modrm: "memory", extension: 0 });
  expect(form("CVTSI2SD", "mF2 0F 2A /r")).toMatchObject({ prefix: 0xf2, opcode: [0x0f, 0x2a] });
  expect(form("BSWAP", "0F C8 +r")).toMatchObject({ plus: "register", modrm: "none" });
  expect(() => form("X", "0F /9")).toThrow(TypeError);
});

test("a flag that a form leaves undefined is never also called defined", () => {
  for (const each of FORMS) expect(each.defines & each.undefined).toBe(0);
});

test("every form is generated, for 64-bit and 32-bit code", () => {
  const seen = new Set<string>();
  const record = new DataView(new ArrayBuffer(R_SIZE));
  const generator = new Generator({ seed: 1, code: [64, 32] });
  for (let index = 0; index < 60_000; index++) {
    generator.generate(index, record);
    for (const each of generator.forms)
      seen.add(`${each.name} ${each.opcode} ${each.prefix} ${each.extension} ${each.modrm}`);
  }
  const missing = FORMS.filter(
    (f) => !seen.has(`${f.name} ${f.opcode} ${f.prefix} ${f.extension} ${f.modrm}`),
  );
  expect(missing.map((f) => f.name)).toEqual([]);
});

test("code stays inside its region and its slot", () => {
  const record = new DataView(new ArrayBuffer(R_SIZE));
  const generator = new Generator({ seed: 2, code: [64] });
  for (let index = 0; index < 20_000; index++) {
    generator.generate(index, record);
    const length = record.getUint32(R_LENGTH, true);
    expect(length).toBeLessThanOrEqual(112);
    expect(R_CODE + length).toBeLessThanOrEqual(R_SIZE);
    expect(record.getUint32(R_RIP, true)).toBeGreaterThanOrEqual(0x10001000);
  }
});

test("each explanation says what is omitted and why", () => {
  const markdown = explainedMarkdown();
  for (const { instructions, omitted, reason } of Object.values(EXPLAINED)) {
    expect(omitted.length).toBeGreaterThan(1);
    expect(markdown).toContain(`| ${instructions} | ${omitted} | ${reason} |`);
  }
});
