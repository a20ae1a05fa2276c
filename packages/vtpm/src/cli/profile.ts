import { DEFAULT_PROFILE, type ProfileName, profiles } from "../profiles.ts";
import { KeyValues } from "./key-values.ts";

/** `--profile`. Throws `CommandError`. */
export function profileOption(text: string | undefined): ProfileName {
  if (text === undefined) return DEFAULT_PROFILE;
  const values = new KeyValues("--profile", text, ["name"]);
  const names = Object.keys(profiles) as [ProfileName, ...ProfileName[]];
  // By swtpm's other name for what libtpms had before there were profiles.
  return values.text("name") === "null" ? "default-v1" : values.choice("name", ...names);
}
