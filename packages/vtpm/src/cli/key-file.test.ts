import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readKey } from "./key-file.ts";

const folder = mkdtempSync(join(tmpdir(), "entresol-key-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(content: string | Uint8Array): string {
  const path = join(folder, createHash("sha256").update(content).digest("hex"));
  writeFileSync(path, content);
  return path;
}
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

describe("readKey", () => {
  it.each(["00112233445566778899aabbccddeeff", "00".repeat(16) + "ff".repeat(16)])(
    "reads %s in hexadecimal digits",
    (digits) => {
      for (const content of [digits, `0x${digits.toUpperCase()}\n`])
        expect(hex(readKey("--key", `file=${file(content)},mode=aes-256-cbc`))).toBe(digits);
    },
  );

  it("reads 16 or 32 binary bytes", () => {
    const key = new Uint8Array(32).fill(3);
    expect(hex(readKey("--key", `file=${file(key)},format=binary`))).toBe(hex(key));
    expect(() => readKey("--key", `file=${file(key.subarray(1))},format=binary`)).toThrow("16 or 32");
  });

  it("derives 32 bytes from a passphrase, the same ones each time, others for another use", () => {
    const path = file("open sesame");
    const keys = ["--key", "--key", "--migration-key"].map((option) =>
      hex(readKey(option, `pwdfile=${path}`)),
    );
    expect(keys[0]).toBe(keys[1]);
    expect(keys[0]).not.toBe(keys[2]);
    expect(keys[0]).toHaveLength(64);
    const line = file("open sesame\n");
    expect(hex(readKey("--key", `pwdfile=${line}`))).toBe(keys[0]);
    expect(hex(readKey("--key", `pwdfile=${path},kdf=sha512`))).toBe(
      createHash("sha512").update("open sesame").digest("hex").slice(0, 64),
    );
  });

  it("removes the file once it was read, when it is asked to", () => {
    const path = file("aa".repeat(16));
    readKey("--key", `file=${path},remove=true`);
    expect(existsSync(path)).toBe(false);
  });

  it.each([
    ["", "does not know"],
    ["format=hex", "needs one of"],
    ["file=/dev/null,pwdfile=/dev/null", "needs one of"],
    ["file=/dev/null", "was given 0 bytes"],
    ["file=/dev/null,mode=rot13", "mode=rot13"],
  ])("refuses %j", (text, message) => {
    expect(() => readKey("--key", text)).toThrow(message);
  });

  it("refuses what is no key in hexadecimal digits", () => {
    expect(() => readKey("--key", `file=${file("12345")}`)).toThrow("no 32 or 64 hexadecimal digits");
  });
});
