import { Command } from "commander";
import { ensureGuest, guestReleases } from "../guest/index.ts";
import { showProgress } from "./progress.ts";

/** `entresol guest …` */
export function guestCommand(): Command {
  const names = guestReleases.map(({ name }) => name);
  const fetch = new Command("fetch")
    .description(
      "Gets a Debian kernel and busybox by package name, as an ordinary user, into the cache folder.",
    )
    .argument("[release]", `one of ${names.join(", ")}`, names[0])
    .option("--force", "fetch again even if it is cached")
    .option("--json", "print the result as one JSON object")
    .addHelpText(
      "after",
      `
The cache folder is $ENTRESOL_CACHE, or ~/.cache/entresol. What is cached needs no network.

Examples:
  entresol guest fetch
  entresol guest fetch debian13
  ENTRESOL_CACHE=/tmp/cache entresol guest fetch debian12 --force
`,
    )
    .action(async (release: string, options: { force?: boolean; json?: boolean }) => {
      const shown = showProgress();
      try {
        const image = await ensureGuest(release, { progress: shown.progress, force: options.force === true });
        shown.end();
        if (options.json === true) process.stdout.write(`${JSON.stringify(image)}\n`);
        else
          process.stdout.write(
            `${image.release}: kernel ${image.kernelVersion}\n  ${image.kernel}\n  ${image.initrd}\n`,
          );
      } finally {
        shown.end();
      }
    });
  return new Command("guest").description("Guest images.").addCommand(fetch);
}
