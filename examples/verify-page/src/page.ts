import {
  anchorOf,
  EvidenceError,
  type JudgementOptions,
  judgeSubmission,
  kinds,
  type NamedBytes,
  openBundles,
  type Policy,
  parsePolicyText,
  reportOf,
  Submission,
  type SubmissionJudgement,
  signersOf,
  summaryOf,
  type TrustAnchor,
} from "@entresol/attestation";
import { makeSampleChip } from "../../src/sample-chip.ts";
import { droppedFiles, readFiles } from "./dropped-files.ts";
import { byId, element } from "./element.ts";
import {
  decisiveFirst,
  type Finding,
  findingList,
  findingOfCheck,
  findingOfReason,
  unselect,
} from "./finding-list.ts";
import { HexPanel } from "./hex-panel.ts";
import { type MissingDocument, missingDocuments, missingView } from "./missing.ts";
import { announcementOf, verdictView } from "./verdict-view.ts";

const drop = byId("div", "drop");
const chooser = byId("input", "files");
const tray = byId("ul", "tray");
const clear = byId("button", "clear");
const time = byId("input", "time");
const root = byId("select", "root");
const policy = byId("textarea", "policy");
const rootError = byId("p", "root-error");
const policyError = byId("p", "policy-error");
const result = byId("section", "result");
const announcer = byId("p", "announcer");

/** What was given, by name: a file of the same name takes the place of the older one. */
const given = new Map<string, NamedBytes>();
const TITLE = document.title;
/** What is given was made up by this page. */
let isExample = false;
/** Counts judgements, so that one that was overtaken shows nothing. */
let latest = 0;

const size = (bytes: number): string => (bytes < 1024 ? `${bytes} bytes` : `${(bytes / 1024).toFixed(1)} kB`);

function showTray(used: ReadonlySet<string>): void {
  const chips = [...given.values()].map(({ name, bytes }) =>
    element(
      "li",
      { class: used.has(name) ? "" : "unused" },
      element("span", { class: "file" }, name),
      element("span", { class: "hint" }, used.has(name) ? size(bytes.length) : "not used"),
      element(
        "button",
        {
          type: "button",
          class: "remove",
          "aria-label": `Remove ${name}`,
          click: () => {
            given.delete(name);
            chooser.focus();
            void judge();
          },
        },
        "×",
      ),
    ),
  );
  tray.replaceChildren(...chips);
  clear.hidden = given.size === 0;
}

/** Certificates that may be trusted instead of the built-in roots, and the one that was chosen: these bytes, whatever they are called. */
let candidates: readonly NamedBytes[] = [];
let trusted: NamedBytes | undefined;

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i]);

function showRoots(submission: Submission): void {
  candidates = [...submission.named("root"), ...submission.named("certificate")];
  const at = candidates.findIndex(({ bytes }) => trusted !== undefined && sameBytes(bytes, trusted.bytes));
  trusted = candidates[at];
  root.replaceChildren(
    element("option", { value: "" }, "AMD's and Intel's root keys"),
    ...candidates.map(({ name }, i) => element("option", { value: i }, name)),
  );
  root.value = at < 0 ? "" : String(at);
}

/** The chosen root; undefined for the built-in ones. Throws `MalformedError` when it is no certificate, with a word beside the field. */
function rootOfField(): TrustAnchor | undefined {
  rootError.textContent = "";
  if (trusted === undefined) return undefined;
  try {
    return anchorOf(trusted.bytes);
  } catch (error) {
    rootError.textContent = `${trusted.name} is no certificate that could be trusted.`;
    throw error;
  }
}

/** The policy of the text field; undefined when it has none. Throws `EvidenceError` for one that is wrong, and says so beside it. */
function policyOfField(): Policy | undefined {
  policyError.textContent = "";
  policy.removeAttribute("aria-invalid");
  if (policy.value.trim() === "") return undefined;
  try {
    return parsePolicyText(policy.value);
  } catch (error) {
    if (!(error instanceof EvidenceError)) throw error;
    policyError.textContent = error.message;
    policy.setAttribute("aria-invalid", "true");
    throw error;
  }
}

function save(judgement: SubmissionJudgement): void {
  const json = JSON.stringify(reportOf(judgement), undefined, 2);
  const url = URL.createObjectURL(new Blob([json], { type: "application/json" }));
  element("a", { href: url, download: "report.json" }).click();
  URL.revokeObjectURL(url);
}

function show(
  judgement: SubmissionJudgement,
  ownRoot: string | undefined,
  missing: readonly MissingDocument[],
): void {
  const parts: Node[] = [...verdictView(judgement, ownRoot, () => save(judgement), missingView(missing))];
  const { outcome, decision, shown } = judgement;
  let decisive = (): void => {};
  if (outcome !== undefined) {
    const panel = new HexPanel(shown);
    const choose = ({ places, tone }: Finding): void => {
      unselect(result);
      panel.mark(places, tone);
    };
    const checks = findingList("Checks", decisiveFirst(outcome.checks.map(findingOfCheck)), choose);
    const reasons = decisiveFirst(decision.reasons.map(findingOfReason));
    const demands = findingList("Demands of the policy", reasons, choose);
    const left = element(
      "div",
      { class: "findings-columns" },
      element(
        "section",
        { class: "panel", "aria-labelledby": "checks-title" },
        element("h2", { id: "checks-title" }, "What was checked"),
        element("p", { class: "hint" }, `${summaryOf(outcome.checks)}. Choose one to see its bytes.`),
        checks.element,
      ),
      reasons.length === 0
        ? element(
            "p",
            { class: "hint" },
            outcome.verified === undefined
              ? "The policy was not asked: only what is verified is held against it."
              : "",
          )
        : element(
            "section",
            { class: "panel", "aria-labelledby": "policy-title" },
            element("h2", { id: "policy-title" }, "What the policy demands"),
            demands.element,
          ),
    );
    parts.push(element("div", { class: "explained" }, left, panel.element));
    decisive = () => {
      const list =
        outcome.verified !== undefined && reasons.some(({ tone }) => tone === "failed") ? demands : checks;
      const signer = signersOf(judgement).at(-1)?.id;
      list.select(decision.verdict === "accepted" ? signer : undefined);
    };
  }
  result.replaceChildren(...parts);
  result.setAttribute("aria-labelledby", "verdict-title");
  result.dataset["verdict"] = decision.verdict;
  decisive();
  announcer.textContent = announcementOf(judgement);
  document.title = `${judgement.decision.verdict} · ${TITLE}`;
}

function nothing(): void {
  document.title = TITLE;
  result.replaceChildren();
  result.removeAttribute("aria-labelledby");
  delete result.dataset["verdict"];
  announcer.textContent = "";
}

/** Judges what is there, anew. */
async function judgeAll(turn: number): Promise<void> {
  const submission = new Submission();
  const used = new Set<string>();
  for (const file of given.values()) if (submission.add(file)) used.add(file.name);
  try {
    await openBundles(submission);
  } catch (error) {
    if (!(error instanceof EvidenceError)) throw error;
    submission.remarks.push({ name: "bundle", text: error.message });
  }
  if (turn !== latest) return;
  showTray(used);
  showRoots(submission);
  for (const { main } of kinds) {
    const [first, ...others] = submission.named(main);
    for (const { name } of others)
      submission.remarks.push({
        name,
        text: `not judged: one piece of evidence at a time, and ${first?.name} came first`,
      });
  }
  let options: JudgementOptions;
  try {
    const demanded = policyOfField();
    const own = rootOfField();
    options = {
      ...(time.value !== "" && { at: `${time.value}Z` }),
      ...(own !== undefined && { roots: [own] }),
      ...(demanded !== undefined && { policy: demanded }),
    };
  } catch {
    nothing();
    return;
  }
  if (given.size === 0) {
    nothing();
    return;
  }
  const ownRoot = trusted?.name;
  const judgement = await judgeSubmission([...given.keys()].join(", "), submission, options);
  const missing =
    ownRoot === undefined ? await missingDocuments(submission, judgement.outcome?.at ?? Date.now()) : [];
  if (turn === latest) show(judgement, ownRoot, missing);
}

/** After every change. No verdict of before stays when there is none. */
async function judge(): Promise<void> {
  latest++;
  try {
    await judgeAll(latest);
  } catch (error) {
    nothing();
    result.append(element("p", { class: "error" }, `This page failed, and has no verdict: ${String(error)}`));
    throw error;
  }
}

/** Takes away what was given, and the trust in what came with it. */
function forget(): void {
  given.clear();
  trusted = undefined;
  isExample = false;
}

async function take(files: readonly NamedBytes[]): Promise<void> {
  if (isExample) forget();
  for (const file of files) {
    if (/policy.*\.json$/i.test(file.name)) policy.value = new TextDecoder().decode(file.bytes);
    else given.set(file.name, file);
  }
  await judge();
}

/** A chip that is made up here and now, so that there is something to look at. */
async function example(): Promise<void> {
  const chip = await makeSampleChip();
  const reportData = crypto.getRandomValues(new Uint8Array(64));
  const measurement = crypto.getRandomValues(new Uint8Array(48));
  forget();
  const files = {
    "report.bin": await chip.report({ reportData, measurement }),
    "vcek.der": chip.vcek,
    "ask.der": chip.ask,
    "ark.der": chip.ark,
    "crl.der": chip.crl,
  };
  time.value = "";
  policy.value = "";
  for (const [name, bytes] of Object.entries(files)) given.set(name, { name, bytes });
  // Nobody but this page trusts its root, and only as long as the example is shown.
  trusted = { name: "ark.der", bytes: chip.ark };
  isExample = true;
  await judge();
}

chooser.addEventListener("change", async () => {
  const files = await readFiles([...(chooser.files ?? [])]);
  chooser.value = "";
  await take(files);
});
for (const name of ["dragenter", "dragover"] as const)
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) drop.classList.remove("over");
});
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (event.dataTransfer !== null) await take(await droppedFiles(event.dataTransfer));
});
byId("button", "example").addEventListener("click", example);
clear.addEventListener("click", () => {
  forget();
  chooser.focus();
  void judge();
});
root.addEventListener("change", () => {
  trusted = root.value === "" ? undefined : candidates[Number(root.value)];
});
for (const field of [time, root, policy]) field.addEventListener("change", judge);
