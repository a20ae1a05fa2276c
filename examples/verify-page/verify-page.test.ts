import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { publicServices } from "@entresol/attestation";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { makeSampleChip } from "../src/sample-chip.ts";
import { buildPage, bundle, serve } from "./build.mjs";
import { type Case, type Judged, verdictsOf } from "./src/verdicts.ts";

/* The page in a real browser, from a file, as somebody would use it. */

const { stdout } = spawnSync(
  "sh",
  [
    "-c",
    'for name in "$ENTRESOL_CHROMIUM" chromium chromium-browser google-chrome; do command -v "$name" && break; done',
  ],
  { encoding: "utf8" },
);
const executablePath = stdout.trim();
if (executablePath === "") console.log("verify-page skipped: no Chromium is installed");

/* Evidence of real machines: ENTRESOL_VECTORS. */

interface Row {
  readonly id: string;
  readonly kind: string;
  readonly files: readonly string[];
  readonly collateral?: string | null;
  readonly time: string;
}

const vectors = [process.env["ENTRESOL_VECTORS"], resolve(import.meta.dirname, "../../../shared/vectors")]
  .filter((path) => path !== undefined)
  .map((path) => join(path, "attest"))
  .find((path) => existsSync(join(path, "manifest.json")));

function caseOf(at: string, { files, collateral, time }: Row): Case {
  const beside = collateral ? join(at, "collateral", basename(collateral)) : undefined;
  const paths = [
    ...files.map((path) => join(at, path)),
    ...(beside === undefined ? [] : readdirSync(beside).map((name) => join(beside, name))),
  ];
  const root = ["root_ca.der", "ark.der"]
    .map((name) => join(at, dirname(files[0] ?? ""), name))
    .find((path) => existsSync(path));
  return {
    files: paths
      .filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile())
      .map((path) => ({ name: basename(path), base64: readFileSync(path, "base64") })),
    at: time,
    ...(root !== undefined && { root: readFileSync(root, "base64") }),
  };
}

const rows: readonly Row[] =
  vectors === undefined ? [] : JSON.parse(readFileSync(join(vectors, "manifest.json"), "utf8")).rows;
const recorded = rows.map((row) => ({ id: row.id, given: caseOf(vectors as string, row) }));

const folder = mkdtempSync(join(tmpdir(), "entresol-verify-page-"));
const file = join(folder, "index.html");
let browser: Browser;
let page: Page;
const troubles: string[] = [];

describe.skipIf(executablePath === "" && process.env["ENTRESOL_REQUIRE_PEERS"] !== "1")("verify-page", () => {
  beforeAll(async () => {
    writeFileSync(file, (await buildPage()).html);
    const sandbox = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
    browser = await chromium.launch({ executablePath, args: sandbox });
    page = await browser.newPage();
    page.on("console", (message) => troubles.push(`console: ${message.text()}`));
    page.on("pageerror", (error) => troubles.push(`error: ${error.message}`));
    page.on("request", (request) => {
      if (!/^(file|blob):/.test(request.url())) troubles.push(`request: ${request.url()}`);
    });
  });
  afterEach(() => {
    // Nothing to complain of, and nothing asked of the network.
    expect(troubles.splice(0)).toEqual([]);
  });
  afterAll(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true });
  });

  const open = async (): Promise<void> => {
    await page.goto(pathToFileURL(file).href);
  };
  const verdict = async (): Promise<string | null> => {
    await page.waitForSelector("#result[data-verdict]");
    return page.getAttribute("#result", "data-verdict");
  };

  async function sampleFiles(change?: (report: Uint8Array) => void) {
    const chip = await makeSampleChip();
    const report = await chip.report({ measurement: new Uint8Array(48).fill(0xcd) });
    change?.(report);
    const parts = { "report.bin": report, "vcek.der": chip.vcek, "ask.der": chip.ask, "ark.der": chip.ark };
    return Object.entries(parts).map(([name, bytes]) => ({
      name,
      mimeType: "application/octet-stream",
      buffer: Buffer.from(bytes),
    }));
  }

  /** Gives the files to the page, and trusts the sample's root. */
  async function give(files: Awaited<ReturnType<typeof sampleFiles>>): Promise<void> {
    await page.setInputFiles("#files", files);
    await verdict();
    await page.click(".settings summary");
    await page.selectOption("#root", "ark.der");
    await page.waitForFunction(() =>
      document.querySelector("#result .banner")?.textContent?.includes("trusting ark.der"),
    );
  }

  describe("the made-up example", () => {
    beforeAll(async () => {
      await open();
      await page.focus("#example");
      await page.keyboard.press("Enter");
      await verdict();
    });

    test("the example is accepted, from a file, without a word to the network", async () => {
      expect(await verdict()).toBe("accepted");
      expect(await page.textContent("#announcer")).toBe(
        "Accepted: AMD SEV-SNP attestation report. 14 passed, 0 failed, 0 not run. It is genuine, and it is all that the policy demands.",
      );
    });

    test("landmarks, headings and the live region are there for those who do not see the page", async () => {
      for (const role of ["banner", "main", "contentinfo"] as const)
        expect(await page.getByRole(role).count(), role).toBe(1);
      expect(await page.getByRole("heading", { level: 1 }).allTextContents()).toEqual(["Verify evidence"]);
      expect(await page.getByRole("heading", { level: 2 }).allTextContents()).toEqual([
        "Evidence",
        "Accepted",
        "What was checked",
        "What the policy demands",
        "The bytes",
      ]);
      expect(await page.getByRole("region").evaluateAll((all) => all.length)).toBeGreaterThanOrEqual(6);
      expect(await page.getByRole("img", { name: "passed" }).count()).toBeGreaterThan(14);
      // Every control has a name.
      const unnamed = await page.evaluate(
        () =>
          [...document.querySelectorAll("button, input, select, textarea, [role]")].filter(
            (control) =>
              !["option", "status", "alert", "tablist"].includes(control.getAttribute("role") ?? "") &&
              (control.textContent ?? "").trim() === "" &&
              !control.hasAttribute("aria-label") &&
              (control as HTMLInputElement).labels?.length !== 1,
          ).length,
      );
      expect(unnamed).toBe(0);
    });

    test.each(["light", "dark"] as const)(
      "%s: words stand out from what is behind them (WCAG 2.2, 1.4.3)",
      async (scheme) => {
        await page.emulateMedia({ colorScheme: scheme });
        const ratios = await page.evaluate(() => {
          const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
          const over = (...colours: string[]): readonly number[] => {
            for (const colour of colours) {
              if (canvas === null) break;
              canvas.fillStyle = colour;
              canvas.fillRect(0, 0, 1, 1);
            }
            return [...(canvas?.getImageData(0, 0, 1, 1).data ?? [])].slice(0, 3);
          };
          const luminance = (rgb: readonly number[]): number =>
            rgb
              .map((value) => value / 255)
              .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
              .reduce((sum, value, i) => sum + value * ([0.2126, 0.7152, 0.0722][i] ?? 0), 0);
          const leaves = [...document.querySelectorAll("body *")].filter(
            (one) =>
              one.checkVisibility() &&
              [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent?.trim() !== ""),
          );
          const pairs = new Map<string, { words: string; ratio: number }>();
          for (const one of leaves.filter((leaf) => !leaf.matches(".skip, .unseen"))) {
            const behind: string[] = [];
            for (let at: Element | null = one; at !== null; at = at.parentElement)
              behind.unshift(getComputedStyle(at).backgroundColor);
            const { color } = getComputedStyle(one);
            const key = [color, ...behind].join();
            if (pairs.has(key)) continue;
            const back = luminance(over("white", ...behind));
            const front = luminance(over("white", ...behind, color));
            const ratio = (Math.max(back, front) + 0.05) / (Math.min(back, front) + 0.05);
            pairs.set(key, { words: one.textContent?.slice(0, 40) ?? "", ratio });
          }
          return [...pairs.values()];
        });
        expect(ratios.length).toBeGreaterThan(8);
        expect(ratios.filter(({ ratio }) => ratio < 4.5)).toEqual([]);
        const paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
        expect(paper).toBe(scheme === "light" ? "rgb(246, 245, 241)" : "rgb(20, 24, 27)");
      },
    );

    test("the report that is saved is that of the command line", async () => {
      const [download] = await Promise.all([
        page.waitForEvent("download"),
        page.getByRole("button", { name: "Save report" }).click(),
      ]);
      const report = JSON.parse(readFileSync(await download.path(), "utf8"));
      expect(report).toMatchObject({ verdict: "accepted", kind: "snp", missing: [] });
      expect(report.checks).toHaveLength(14);
    });

    test("checks and bytes are read by keyboard alone", async () => {
      const list = page.getByRole("listbox", { name: "Checks" });
      await list.getByRole("option").first().focus();
      await page.keyboard.press("End");
      expect(await page.evaluate(() => (document.activeElement as HTMLElement).dataset["name"])).toBe(
        "snp.tcb.order",
      );
      expect(await list.locator('[aria-selected="true"]').count()).toBe(1);
      await page.keyboard.press("ArrowUp");
      expect(await page.evaluate(() => (document.activeElement as HTMLElement).dataset["name"])).toBe(
        "snp.signature",
      );
      const view = page.getByRole("application");
      await view.focus();
      await page.keyboard.press("Home");
      await page.keyboard.press("ArrowDown");
      expect(await page.textContent(".caption")).toContain("familyId");
      for (let row = 1; row < 9; row++) await page.keyboard.press("ArrowDown");
      expect(await page.textContent(".caption")).toMatch(/^measurement launch digest 0x090, 48 bytes/);
    });

    test("removing all takes the verdict away", async () => {
      await page.click("#clear");
      await page.waitForSelector("#result:not([data-verdict])", { state: "attached" });
      expect(await page.locator("#tray li, #result *").count()).toBe(0);
    });
  });

  test("what is not here is named with its place at AMD's service, and nothing is fetched", async () => {
    await open();
    const [report] = await sampleFiles();
    if (report === undefined) throw new Error("no report");
    await page.setInputFiles("#files", [report]);
    expect(await verdict()).toBe("unverified");
    const links = await page.getByRole("region", { name: "What is not here" }).getByRole("link").all();
    const paths = await Promise.all(
      links.map(async (link) => (await link.getAttribute("href"))?.replace(publicServices.kds, "")),
    );
    expect(paths).toEqual([
      expect.stringMatching(/^\/vcek\/v1\/Genoa\/[0-9a-f]{128}\?blSPL=10&teeSPL=00&snpSPL=23&ucodeSPL=84$/),
      "/vcek/v1/Genoa/crl",
    ]);
  });

  test("a root that nobody trusts makes nothing genuine", async () => {
    await open();
    await page.setInputFiles("#files", await sampleFiles());
    expect(await verdict()).toBe("rejected");
    expect(await page.getAttribute('[data-name="snp.chain"]', "class")).toBe("failed");
  });

  test("the trust in a root ends with the files that it came with", async () => {
    await open();
    await page.click("#example");
    await page.waitForSelector('#result[data-verdict="accepted"]');
    // Another chip's files, of the same names.
    await page.setInputFiles("#files", await sampleFiles());
    await page.waitForSelector('#result[data-verdict="rejected"]');
    expect(await page.inputValue("#root")).toBe("");
    expect(await page.textContent(".banner")).not.toContain("trusting");
  });

  test("a changed byte is refused, and the bytes that were signed are marked", async () => {
    await open();
    await give(await sampleFiles((report) => report.set([0xce], 0x90)));
    expect(await verdict()).toBe("rejected");
    expect(await page.textContent(".banner")).toContain("The key of SEV-VCEK did not sign these bytes.");
    expect(await page.locator('.values [data-mark="failed"]').count()).toBeGreaterThanOrEqual(0x2a0);
    expect(await page.getAttribute('[role="option"]', "data-name")).toBe("snp.signature");
  });

  test("the policy decides on what is genuine, and one that is wrong is named by its path", async () => {
    await open();
    await give(await sampleFiles());
    const write = async (policy: string): Promise<void> => {
      await page.fill("#policy", policy);
      await page.dispatchEvent("#policy", "change");
    };
    for (const [measurement, wanted] of [
      ["cd", "accepted"],
      ["ab", "rejected"],
    ] as const) {
      await write(JSON.stringify({ snp: { measurements: [measurement.repeat(48)] } }));
      await page.waitForSelector(`#result[data-verdict="${wanted}"] [data-name="/snp/measurements"]`);
    }
    expect(await page.locator('.values [data-mark="failed"]').count()).toBe(48);
    await write('{ "snp": { "vmpls": ["none"] } }');
    await page.waitForSelector("#policy[aria-invalid]");
    expect(await page.textContent("#policy-error")).toContain("/snp/vmpls/0");
    expect(await page.getAttribute("#result", "data-verdict")).toBeNull();
  });

  test("files are dropped anywhere on the page, and what is no evidence is said not to be used", async () => {
    await open();
    const files = await sampleFiles();
    const dropped = [
      ...files.map(({ name, buffer }) => ({ name, bytes: [...buffer] })),
      { name: "cat.txt", bytes: [0, 1] },
    ];
    await page.evaluate((list) => {
      const transfer = new DataTransfer();
      for (const { name, bytes } of list) transfer.items.add(new File([Uint8Array.from(bytes)], name));
      document.body.dispatchEvent(
        new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }),
      );
    }, dropped);
    expect(await verdict()).toBe("rejected");
    expect(await page.locator("#tray li").allTextContents()).toContainEqual(
      expect.stringMatching(/^cat\.txtnot used/),
    );
    await page.getByRole("button", { name: "Remove report.bin" }).click();
    await page.waitForSelector('#result[data-verdict="unverified"]');
    expect(await page.textContent(".banner")).toContain("There is no evidence here");
  });

  test("localhost serves the page, and nothing else", async () => {
    const server = await serve("<p>the page</p>", 0);
    try {
      const { port } = server.address() as { port: number };
      const answers = await Promise.all(
        ["/", "/index.html", "/build.mjs", "/../package.json"].map((path) =>
          fetch(`http://127.0.0.1:${port}${path}`),
        ),
      );
      expect(answers.map(({ status }) => status)).toEqual([200, 200, 404, 404]);
      expect(await answers[0]?.text()).toBe("<p>the page</p>");
      expect((await fetch(`http://127.0.0.1:${port}/`, { method: "POST" })).status).toBe(404);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  test.runIf(recorded.length > 0)(
    "recorded evidence gets the verdict that it gets on Node, check by check",
    async () => {
      const blank = join(folder, "blank.html");
      writeFileSync(blank, "<!doctype html><title>blank</title>");
      await page.goto(pathToFileURL(blank).href);
      await page.addScriptTag({
        content: (await bundle(join(import.meta.dirname, "src/verdicts.ts"), "verdicts")).text,
      });
      const inBrowser: Judged[] = await page.evaluate(
        (cases) =>
          (globalThis as unknown as { verdicts: { verdictsOf: typeof verdictsOf } }).verdicts.verdictsOf(
            cases,
          ),
        recorded.map(({ given }) => given),
      );
      const onNode = await verdictsOf(recorded.map(({ given }) => given));
      const named = (judged: readonly Judged[]) => recorded.map(({ id }, i) => [id, judged[i]]);
      expect(named(inBrowser)).toEqual(named(onNode));
      const verdicts = new Set(onNode.map(({ verdict: one }) => one));
      expect(verdicts).toEqual(new Set(["accepted", "rejected", "unverified"]));
    },
  );
});
