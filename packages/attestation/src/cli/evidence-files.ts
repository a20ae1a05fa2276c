import { type FileHandle, open, readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { openBundles } from "../submission/bundles.ts";
import { evidenceRoles, type Role, roleOfName } from "../submission/roles.ts";
import { Submission } from "../submission/submission.ts";
import { CommandError } from "./exit-status.ts";
import { explain } from "./failure.ts";

/** Far above any evidence: an event log has megabytes at most. */
const LARGEST_FILE = 16 << 20;

/** Reads until the end, wherever the size said that it is: devices and pipes say none, and a file may grow meanwhile. */
export async function readBounded(path: string): Promise<Uint8Array> {
  const file = await open(path);
  try {
    return await readAll(file, path);
  } finally {
    await file.close();
  }
}

async function readAll(file: FileHandle, path: string): Promise<Uint8Array> {
  const { size } = await file.stat();
  const tooLarge = (bytes: string): CommandError =>
    new CommandError(`${path}: ${bytes}, more than the ${LARGEST_FILE} of any evidence`);
  if (size > LARGEST_FILE) throw tooLarge(`${size} bytes`);
  const parts: Uint8Array[] = [];
  let total = 0;
  for (;;) {
    const part = new Uint8Array(Math.max(size - total, 0) + SLACK);
    const { bytesRead } = await file.read(part);
    total += bytesRead;
    if (total > LARGEST_FILE) throw tooLarge("goes on and on");
    if (bytesRead > 0) parts.push(part.subarray(0, bytesRead));
    else break;
  }
  const bytes = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
const SLACK = 4096;

/** Something to be judged: its name, and how its files get into a submission that has what the command line gives. */
export interface EvidenceSource {
  readonly name: string;
  readonly files: readonly string[];
  /** What lies beside the files and is not looked into. */
  readonly beside?: readonly string[];
  /** Why it cannot be judged. */
  readonly problem?: string;
}

interface Listing {
  readonly files: readonly string[];
  readonly folders: readonly string[];
  /** Links to folders, which are not followed: they may lead in a circle, or out of the folder. */
  readonly links: readonly string[];
}

async function list(folder: string): Promise<Listing> {
  const entries = (await readdir(folder, { withFileTypes: true })).toSorted((a, b) =>
    a.name < b.name ? -1 : 1,
  );
  const files: string[] = [];
  const folders: string[] = [];
  const links: string[] = [];
  for (const entry of entries) {
    const path = join(folder, entry.name);
    const kind = entry.isSymbolicLink() ? await stat(path).catch(() => undefined) : entry;
    if (entry.name.startsWith(".")) continue;
    if (kind?.isFile()) files.push(path);
    else if (entry.isDirectory()) folders.push(path);
    else if (kind?.isDirectory()) links.push(path);
  }
  return { files, folders, links };
}

/**
 * What a path stands for. A file: one piece of evidence. A folder with evidence under a name that is known: one piece, with all that lies
 * beside it. Any other folder: each of its files and of its folders by itself. Nothing is left out in silence.
 */
export async function sourcesOf(path: string): Promise<EvidenceSource[]> {
  if (!(await stat(path)).isDirectory()) return [{ name: path, files: [path] }];
  const { files, folders, links } = await list(path);
  const named = files.some((file) => {
    const role = roleOfName(basename(file));
    return role !== undefined && evidenceRoles.has(role);
  });
  if (named) return [{ name: path, files, beside: [...folders, ...links] }];
  const below = await Promise.all(folders.map(sourcesBelow));
  return [
    ...files.map((file) => ({ name: file, files: [file] })),
    ...links.map((name) => ({
      name,
      files: [],
      problem: "a link to a folder is not followed: name the folder itself",
    })),
    ...below.flat(),
  ];
}

/** A folder that cannot be read is told as such: it must neither be passed over nor keep the others from being judged. */
async function sourcesBelow(path: string): Promise<EvidenceSource[]> {
  try {
    return await sourcesOf(path);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") throw error;
    return [{ name: path, files: [], problem: explain(error) }];
  }
}

/** Roles of what goes with evidence: only these are taken from `--collateral` and `--certs`. */
const companions: ReadonlySet<Role> = new Set<Role>([
  "certificate",
  "certificate-table",
  "crl",
  "tcb-info",
  "qe-identity",
  "tcb-signers",
  "root-crl",
  "pck-crl",
  "bundle",
]);

async function addFile(submission: Submission, path: string, role?: Role): Promise<boolean> {
  return submission.add({ name: path, bytes: await readBounded(path) }, role);
}

/** What the command line gives for every piece of evidence. */
export async function companionsOf(
  certificates: readonly string[],
  collateral: readonly string[],
): Promise<Submission> {
  const submission = new Submission();
  for (const path of collateral) {
    if ((await stat(path)).isDirectory()) {
      for (const file of (await list(path)).files) {
        const role = roleOfName(basename(file));
        if (role !== undefined && companions.has(role)) await addFile(submission, file, role);
      }
    } else {
      // Evidence that came this way would be judged in the place of the evidence.
      const alone = new Submission();
      if (!(await addFile(alone, path)) || alone.roles.some((role) => !companions.has(role)))
        throw new CommandError(`${path}: neither a folder nor a file of collateral`);
      await addFile(submission, path);
    }
  }
  for (const path of certificates) {
    const bytes = await readBounded(path);
    const role = roleOfName(basename(path));
    submission.add({ name: path, bytes }, role !== undefined && companions.has(role) ? role : "certificate");
  }
  await openBundles(submission);
  return submission;
}

/** Reads a piece of evidence, on top of `common`. `kind`: the role of a file that says nothing about itself. */
export async function readSource(
  source: EvidenceSource,
  common: Submission,
  main?: Role,
): Promise<Submission> {
  if (source.problem !== undefined) throw new CommandError(source.problem);
  const submission = common.copy();
  for (const path of source.beside ?? [])
    submission.remarks.push({ name: basename(path), text: "not looked into: a folder beside evidence" });
  const alone = source.files.length === 1;
  for (const path of source.files) {
    const bytes = await readBounded(path);
    const name = basename(path);
    // A file that somebody names is evidence, whatever it is called; one that lies about must say what it is.
    if (!alone && roleOfName(name) === undefined) {
      submission.remarks.push({ name, text: "not used: no name that is known" });
      continue;
    }
    const understood = submission.add({ name, bytes });
    if (alone && main !== undefined && !submission.hasEvidence) submission.add({ name, bytes }, main);
    else if (!understood)
      submission.remarks.push({
        name,
        text: bytes.length === 0 ? "not used: it is empty" : "not used: nothing that is known",
      });
  }
  await openBundles(submission);
  return submission;
}
