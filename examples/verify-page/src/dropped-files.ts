import type { NamedBytes } from "@entresol/attestation";

/** Far above any evidence. */
const LARGEST = 64 << 20;
const NOTHING = new Uint8Array(0);

/** Names and bytes. What is too large is not read: it has no bytes then, and is shown as not used. */
export function readFiles(files: readonly File[]): Promise<NamedBytes[]> {
  return Promise.all(
    files.map(async (file) => ({
      name: file.name,
      bytes: file.size > LARGEST ? NOTHING : new Uint8Array(await file.arrayBuffer()),
    })),
  );
}

const fileOf = (entry: FileSystemFileEntry): Promise<File> =>
  new Promise((done, failed) => entry.file(done, failed));
/** A reader gives up to a hundred entries at a time, and none at the end. */
const someOf = (reader: FileSystemDirectoryReader): Promise<FileSystemEntry[]> =>
  new Promise((done, failed) => reader.readEntries(done, failed));

/** Files of a folder, not of the folders in it: evidence lies side by side. */
async function filesIn(entry: FileSystemEntry): Promise<File[]> {
  if (entry.isFile) return [await fileOf(entry as FileSystemFileEntry)];
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const files: File[] = [];
  for (let some = await someOf(reader); some.length > 0; some = await someOf(reader))
    for (const one of some) if (one.isFile) files.push(await fileOf(one as FileSystemFileEntry));
  return files;
}

/** What was dropped: files, and the files of folders. */
export async function droppedFiles({ items, files }: DataTransfer): Promise<NamedBytes[]> {
  // Entries must be asked for before the first wait: the transfer is empty afterwards.
  const entries = [...items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  if (entries.length === 0) return readFiles([...files]);
  return readFiles((await Promise.all(entries.map(filesIn))).flat());
}
