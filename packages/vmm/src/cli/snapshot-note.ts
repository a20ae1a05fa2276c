import type { ChosenGuest } from "./guest-choice.ts";

/** Which guest it is, apart from its bytes. */
export type GuestIdentity = Omit<ChosenGuest, "boot" | "extras">;

/** What a snapshot of the command's tells about the guest in it; specs/snapshot.md lists it as `extra`. */
interface SnapshotNote {
  title: string;
  name: string;
  kernelVersion: string | null;
  agent: boolean;
  openLine: string;
}

/** `openLine` is what stands on the console behind the last line end. */
export function writeNote(guest: GuestIdentity, openLine: string): SnapshotNote {
  const { title, name, kernelVersion, agent } = guest;
  return { title, name, kernelVersion: kernelVersion ?? null, agent, openLine };
}

/** Reads a note that anybody may have written: what is missing or of another type is as if the snapshot said nothing. */
export function readNote(extra: unknown, path: string): { guest: GuestIdentity; openLine: string } {
  const note = (typeof extra === "object" && extra !== null ? extra : {}) as Record<string, unknown>;
  const text = (field: keyof SnapshotNote): string | undefined => {
    const value = note[field];
    return typeof value === "string" ? value : undefined;
  };
  return {
    guest: {
      title: text("title") ?? path,
      name: text("name") ?? path,
      kernelVersion: text("kernelVersion"),
      agent: note["agent"] === true,
    },
    openLine: text("openLine") ?? "",
  };
}
