import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { debianMirrors, parseDeb822Sources, parseOneLineSources, systemMirrors } from "./apt-sources.ts";

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";

describe("one-line sources", () => {
  it("give uri, suite, components and signed-by", () => {
    const text = [
      "# deb http://old.example/debian bookworm main",
      "deb http://mirror.example/debian/ bookworm main contrib # the usual",
      "deb-src http://mirror.example/debian bookworm main",
      `deb [arch=amd64 signed-by=${keyring}] https://other.example/debian trixie main`,
      "",
      "nonsense",
    ].join("\n");
    expect(parseOneLineSources(text)).toEqual([
      {
        uris: ["http://mirror.example/debian/"],
        suites: ["bookworm"],
        components: ["main", "contrib"],
        signedBy: undefined,
      },
      { uris: ["https://other.example/debian"], suites: ["trixie"], components: ["main"], signedBy: keyring },
    ]);
  });
});

describe("deb822 sources", () => {
  it("give the stanzas of binary packages that are enabled", () => {
    const text = `Types: deb deb-src
# a comment between fields
URIs: http://mirror.example/debian
 http://second.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: ${keyring}

Types: deb-src
URIs: http://mirror.example/debian
Suites: bookworm
Components: main

Types: deb
Enabled: no
URIs: http://disabled.example/debian
Suites: bookworm
Components: main
`;
    expect(parseDeb822Sources(text)).toEqual([
      {
        uris: ["http://mirror.example/debian", "http://second.example/debian"],
        suites: ["bookworm", "bookworm-updates"],
        components: ["main"],
        signedBy: keyring,
      },
    ]);
  });
});

describe("Debian mirrors", () => {
  const entry = (uri: string, suite: string, signedBy?: string, component = "main") => ({
    uris: [uri],
    suites: [suite],
    components: [component],
    signedBy,
  });

  it("are those of a base suite's main component, each once, without trailing slash", () => {
    const found = debianMirrors([
      entry("http://mirror.example/debian/", "bookworm"),
      entry("http://mirror.example/debian", "trixie"),
      entry("http://security.example/debian-security", "bookworm-security"),
      entry("http://other.example/debian", "bookworm", undefined, "stable"),
      entry("http://distribution.example/ubuntu", "noble"),
      entry("cdrom:[Debian GNU/Linux 12]/", "bookworm"),
    ]);
    expect(found).toEqual([{ uri: "http://mirror.example/debian", signedBy: undefined }]);
  });

  it("come before third parties that use a Debian suite's name", () => {
    const found = debianMirrors([
      entry("http://third.example/apt", "bookworm", "/etc/apt/keyrings/third.gpg"),
      entry("http://mirror.example/debian", "bookworm"),
      entry("http://signed.example/debian", "bookworm", keyring),
    ]);
    expect(found.map(({ uri }) => uri)).toEqual([
      "http://signed.example/debian",
      "http://mirror.example/debian",
      "http://third.example/apt",
    ]);
  });

  it("name a keyring only by path: an inline key has no place in another sources file", () => {
    const found = debianMirrors([
      entry("http://mirror.example/debian", "sid", "\n-----BEGIN PGP PUBLIC KEY BLOCK-----"),
    ]);
    expect(found).toEqual([{ uri: "http://mirror.example/debian", signedBy: undefined }]);
  });

  it("are read from sources.list and sources.list.d, in the order of apt", async () => {
    const etc = await mkdtemp(join(tmpdir(), "entresol-apt-"));
    await mkdir(join(etc, "sources.list.d"));
    await writeFile(join(etc, "sources.list"), "deb http://first.example/debian bookworm main\n");
    const stanza = "Types: deb\nURIs: http://second.example/debian\nSuites: trixie\nComponents: main\n";
    await writeFile(join(etc, "sources.list.d", "a.sources"), stanza);
    await writeFile(join(etc, "sources.list.d", "b.list"), "deb http://third.example/debian sid main\n");
    await writeFile(join(etc, "sources.list.d", "c.save"), "deb http://fourth.example/debian sid main\n");
    try {
      expect((await systemMirrors(etc)).map(({ uri }) => uri)).toEqual(
        ["first", "second", "third"].map((name) => `http://${name}.example/debian`),
      );
    } finally {
      await rm(etc, { recursive: true });
    }
    expect(await systemMirrors(join(etc, "nowhere"))).toEqual([]);
  });
});

it("any text at all gives entries of words", () => {
  const text = fc.oneof(
    fc.string(),
    fc
      .array(
        fc.constantFrom("deb", " ", "[", "]", "x=y", "Types: deb", "URIs:", "\n", "\n\n", "#", "main", "\t"),
      )
      .map((parts) => parts.join("")),
  );
  fc.assert(
    fc.property(text, (source) => {
      for (const { uris, suites, components } of [
        ...parseOneLineSources(source),
        ...parseDeb822Sources(source),
      ]) {
        for (const word of [...uris, ...suites, ...components]) expect(word).toMatch(/^\S+$/);
      }
    }),
    { numRuns: 500 },
  );
});
