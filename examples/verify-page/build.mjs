// npm run verify-page: makes the page, one file that needs nothing else, and shows it on localhost.
//
//   node examples/verify-page/build.mjs            writes dist/index.html and serves it
//   node examples/verify-page/build.mjs --write    writes it, and is done
//
// It is made of the packages' sources, so that no build comes first.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = import.meta.dirname;
const packages = resolve(here, "../../packages");

/** Our packages by their sources. @type {import("esbuild").Plugin} */
const fromSources = {
  name: "sources",
  setup({ onResolve }) {
    onResolve({ filter: /^@entresol\// }, ({ path }) => ({
      path: join(packages, path.slice("@entresol/".length), "src/index.ts"),
      sideEffects: false,
    }));
  },
};

/**
 * A program for browsers, as one script. Fails on an import that a browser has not, such as any of `node:`.
 * @param {string} entry path of its main file
 * @param {string} [globalName] global variable of its exports
 */
export async function bundle(entry, globalName) {
  const { outputFiles, metafile } = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    metafile: true,
    minify: true,
    format: "iife",
    ...(globalName !== undefined && { globalName }),
    platform: "browser",
    target: "es2022",
    legalComments: "inline",
    logLevel: "silent",
    plugins: [fromSources],
    // No code is made of text here, which the page's security policy forbids.
    alias: { "cbor-x": "cbor-x/index-no-eval" },
    banner: { js: "globalThis.__zod_globalConfig={jitless:true};" },
  });
  const [file] = outputFiles;
  if (file === undefined) throw new Error("esbuild gave no file");
  return { text: file.text, metafile };
}

/** @param {string} text */
const hashSource = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

/** The page, whole. Its security policy lets nothing in or out but what it is made of. */
export async function buildPage() {
  const { text } = await bundle(join(here, "src/page.ts"));
  const script = text.replaceAll("</script", "<\\/script");
  const style = readFileSync(join(here, "style.css"), "utf8");
  const policy = [
    "default-src 'none'",
    `script-src ${hashSource(script)}`,
    `style-src ${hashSource(style)}`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  const html = readFileSync(join(here, "index.html"), "utf8")
    .replace(
      '<meta charset="utf-8" />',
      (tag) => `${tag}\n    <meta http-equiv="Content-Security-Policy" content="${policy}" />`,
    )
    .replace(/<link rel="stylesheet"[^>]*>/, () => `<style>${style}</style>`)
    .replace(/<script src="[^"]*"><\/script>/, () => `<script>${script}</script>`);
  return { html, script };
}

/**
 * Serves the page on localhost, and nothing else. Gives the server once it listens.
 * @param {string} html
 * @param {number} port 0: any that is free
 * @returns {Promise<import("node:http").Server>}
 */
export function serve(html, port) {
  const server = createServer((request, response) => {
    const { method = "", url = "" } = request;
    if (!["GET", "HEAD"].includes(method) || !["/", "/index.html"].includes(url.replace(/\?.*/, ""))) {
      response.writeHead(404, { "content-type": "text/plain" }).end("Not here: the page is /\n");
      return;
    }
    response.writeHead(200, {
      "content-type": "text/html; charset=utf-8",
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
    });
    response.end(method === "HEAD" ? undefined : html);
  });
  return new Promise((done, failed) => {
    server.once("error", failed);
    server.listen(port, "127.0.0.1", () => done(server));
  });
}

if (process.argv[1] === import.meta.filename) {
  const { html, script } = await buildPage();
  const file = join(here, "dist/index.html");
  mkdirSync(join(here, "dist"), { recursive: true });
  writeFileSync(file, html);
  const kilobytes = (/** @type {number} */ bytes) => `${(bytes / 1000).toFixed(0)} kB`;
  console.log(
    `${file}: ${kilobytes(html.length)}, of which script ${kilobytes(script.length)}; ${kilobytes(gzipSync(html).length)} with gzip`,
  );
  if (!process.argv.includes("--write")) {
    const server = await serve(html, Number(process.env["PORT"] ?? 8480));
    const address = server.address();
    if (address !== null && typeof address === "object")
      console.log(`http://localhost:${address.port}/  (Ctrl+C ends it)`);
  }
}
