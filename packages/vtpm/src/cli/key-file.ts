import { createHash, pbkdf2Sync } from "node:crypto";
import { readFileSync, unlinkSync } from "node:fs";
import { KeyValues } from "./key-values.ts";

/** Largest passphrase file, in bytes, that is read. */
const LARGEST = 4096;
const ROUNDS = 100_000;

/**
 * The key that `--key` or `--migration-key` names: a key of 16 or 32 bytes in a file, hexadecimal or binary, or one that is derived from a
 * passphrase. `mode` is accepted as swtpm has it; states are always under AES-256-GCM here. Throws `CommandError` and what the system throws.
 */
export function readKey(option: string, text: string): Uint8Array {
  const values = new KeyValues(option, text, [
    "file",
    "fd",
    "pwdfile",
    "pwdfd",
    "mode",
    "format",
    "remove",
    "kdf",
  ]);
  values.choice("mode", "aes-cbc", "aes-128-cbc", "aes-256-cbc", "aes-256-gcm");
  const format = values.choice("format", "hex", "binary");
  const kdf = values.choice("kdf", "pbkdf2", "sha512");
  const sources = ["file", "fd", "pwdfile", "pwdfd"].filter((name) => values.has(name));
  const [source] = sources;
  if (source === undefined || sources.length > 1)
    throw values.fault("needs one of file=, fd=, pwdfile=, pwdfd=");
  const content = source.endsWith("fd")
    ? readFileSync(values.number(source, 2 ** 20)!)
    : readFileSync(values.text(source)!);
  if (values.flag("remove") && !source.endsWith("fd")) unlinkSync(values.text(source)!);
  if (content.length === 0 || content.length > LARGEST)
    throw values.fault(`was given ${content.length} bytes; 1 to ${LARGEST} can be`);
  if (source.startsWith("pwd")) return fromPassphrase(option, content, kdf);
  if (format === "binary") {
    if (content.length !== 16 && content.length !== 32)
      throw values.fault(`was given ${content.length} bytes; a binary key has 16 or 32`);
    return content;
  }
  const [, digits] = /^(?:0x)?((?:[0-9a-f]{32}){1,2})\s*$/i.exec(content.toString("latin1")) ?? [];
  if (digits === undefined) throw values.fault("was given no 32 or 64 hexadecimal digits");
  return Buffer.from(digits, "hex");
}

/** The same passphrase must give the same key on the machine that a TPM moves to: there is no room for a salt of its own. */
function fromPassphrase(option: string, content: Buffer, kdf: "pbkdf2" | "sha512"): Uint8Array {
  const end = content.at(-1) === 0x0a ? content.length - 1 : content.length;
  const passphrase = content.subarray(0, end);
  if (kdf === "sha512") return createHash("sha512").update(passphrase).digest().subarray(0, 32);
  return pbkdf2Sync(passphrase, `entresol-vtpm ${option}`, ROUNDS, 32, "sha512");
}
