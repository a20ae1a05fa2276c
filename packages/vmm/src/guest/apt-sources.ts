import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/** A Debian archive that this system already trusts and reaches. */
export interface AptMirror {
  /** As written in the sources: http:, https:, file:, mirror+file: and so on, without a trailing slash. */
  readonly uri: string;
  /** Path of the keyring of that entry, if it names one. */
  readonly signedBy: string | undefined;
}

interface SourceEntry {
  readonly uris: readonly string[];
  readonly suites: readonly string[];
  readonly components: readonly string[];
  readonly signedBy: string | undefined;
}

/** Suites of the main Debian archive. Security and updates suites live elsewhere or lack the base packages. */
const baseSuites = new Set([
  ..."buster bullseye bookworm trixie forky duke sid".split(" "),
  ..."oldoldstable oldstable stable testing unstable".split(" "),
]);

/** One-line format, sources.list(5): `deb [option=value ...] uri suite component...`. */
export function parseOneLineSources(text: string): SourceEntry[] {
  const entries: SourceEntry[] = [];
  for (const line of text.split("\n")) {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)((?:\s+[^\s#]+)*)/.exec(line);
    if (match === null) continue;
    const [, options = "", uri = "", suite = "", components = ""] = match;
    const signedBy = /(?:^|\s)signed-by=(\S+)/i.exec(options)?.[1];
    entries.push({ uris: [uri], suites: [suite], components: words(components), signedBy });
  }
  return entries;
}

/** deb822 format: stanzas of `Field: value`, continued by lines that start with a blank. */
export function parseDeb822Sources(text: string): SourceEntry[] {
  const entries: SourceEntry[] = [];
  const lines = text.split("\n").filter((line) => !line.startsWith("#"));
  for (const stanza of lines.join("\n").split(/\n(?:[ \t]*\n)+/)) {
    const fields = new Map<string, string>();
    let last = "";
    for (const line of stanza.split("\n")) {
      const field = /^([!-9;-~]+):(.*)$/.exec(line);
      if (field !== null) {
        last = field[1]!.toLowerCase();
        fields.set(last, field[2]!.trim());
      } else if (/^[ \t]/.test(line) && last !== "") {
        fields.set(last, `${fields.get(last)}\n${line.trim()}`);
      }
    }
    if (!words(fields.get("types")).includes("deb")) continue;
    if (/^(no|false|0|off|without|disable)$/i.test(fields.get("enabled") ?? "")) continue;
    entries.push({
      uris: words(fields.get("uris")),
      suites: words(fields.get("suites")),
      components: words(fields.get("components")),
      signedBy: fields.get("signed-by"),
    });
  }
  return entries;
}

function words(text: string | undefined): string[] {
  return (text ?? "").split(/\s+/).filter((word) => word !== "");
}

/**
 * The Debian mirrors among sources, best first: those whose entry is signed by Debian's archive keyring before those that
 * merely use a Debian suite name, as third-party archives do too.
 */
export function debianMirrors(entries: readonly SourceEntry[]): AptMirror[] {
  const found: { mirror: AptMirror; rank: number }[] = [];
  for (const { uris, suites, components, signedBy } of entries) {
    if (!suites.some((suite) => baseSuites.has(suite)) || !components.includes("main")) continue;
    const debianKeyring = /debian-archive/.test(signedBy ?? "");
    for (const address of uris) {
      const uri = address.replace(/\/+$/, "");
      if (uri.startsWith("cdrom:") || found.some((other) => other.mirror.uri === uri)) continue;
      const rank = (debianKeyring ? 0 : 2) + (/\bdebian\b/.test(uri) ? 0 : 1);
      // An inline key or a fingerprint is no path that another sources file could name.
      found.push({ mirror: { uri, signedBy: signedBy?.startsWith("/") ? signedBy : undefined }, rank });
    }
  }
  return found.sort((a, b) => a.rank - b.rank).map(({ mirror }) => mirror);
}

/** The Debian mirrors of this system, from `sources.list` and `sources.list.d` under `etc` (default /etc/apt), best first. */
export async function systemMirrors(etc = "/etc/apt"): Promise<AptMirror[]> {
  const entries = parseOneLineSources(await textOf(join(etc, "sources.list")));
  const parts = await readdir(join(etc, "sources.list.d")).catch(() => []);
  for (const name of parts.sort()) {
    const path = join(etc, "sources.list.d", name);
    if (name.endsWith(".list")) entries.push(...parseOneLineSources(await textOf(path)));
    else if (name.endsWith(".sources")) entries.push(...parseDeb822Sources(await textOf(path)));
  }
  return debianMirrors(entries);
}

/** Some of the files may be readable by root only; those that can be read decide. */
function textOf(path: string): Promise<string> {
  return readFile(path, "utf8").catch(() => "");
}
