// Programs of others on our TPM service: tpm2-tools, swtpm_setup, QEMU with its firmware and a Debian guest, systemd, clevis, OpenSSL, IBM's utilities.
// node checks/tpm-peers.mjs [--only TEXT] [--table]   (after npm run build; --table also prints which script uses which of tpm2-tools)
import { inParallel } from "./guest-runs.mjs";
import { clientCases } from "./tpm-peers/clients.mjs";
import { qemuCases } from "./tpm-peers/qemu.mjs";
import { swtpmNameCases } from "./tpm-peers/swtpm-name.mjs";
import { toolCases } from "./tpm-peers/tools.mjs";

const args = process.argv.slice(2);
const only = args.includes("--only") ? args[args.indexOf("--only") + 1] : "";
const required = process.env.ENTRESOL_REQUIRE_PEERS === "1";
const counts = { passed: 0, failed: 0, skipped: 0 };

/** A case: `title`, `without` (programs that it lacks) and `run(expect, keep)`; what it keeps is ended after it, the last first. */
function task({ title, without, run }, chosen = false) {
  return async () => {
    if (!chosen && !title.includes(only)) return;
    if (without.length > 0) {
      console.log(`${required ? "FAIL" : "skip"} ${title}: ${without.join(", ")} is not installed`);
      counts[required ? "failed" : "skipped"]++;
      return;
    }
    const faults = [];
    const expect = (what, good, detail) => {
      if (!good) faults.push(`${what}: ${detail}`);
    };
    const kept = [];
    const keep = (resource) => {
      kept.unshift(resource);
      return resource;
    };
    const began = performance.now();
    try {
      await run(expect, keep);
    } catch (error) {
      faults.push(error.stack ?? String(error));
    } finally {
      for (const resource of kept) await resource.end();
    }
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    console.log(`${faults.length === 0 ? "ok  " : "FAIL"} ${title} (${seconds} s)`);
    for (const fault of faults) console.log(`     ${fault}`);
    counts[faults.length === 0 ? "passed" : "failed"]++;
  };
}

/** Cases of one machine, one after the other, all of them if one is chosen; what they share ends with the last. */
const series =
  ({ list, end }) =>
  async () => {
    if (!list.some(({ title }) => title.includes(only))) return;
    try {
      for (const each of list) await task(each, true)();
    } finally {
      await end();
    }
  };

const tools = toolCases();
const cases = [...qemuCases(), ...swtpmNameCases(), ...clientCases(), ...tools.cases];
const slow = cases.filter(({ waits }) => waits);
const others = cases.filter(({ waits }) => !waits);
await Promise.all([
  inParallel(
    slow.map((each) => task(each)),
    slow.length,
  ),
  inParallel(others.map((each) => ("list" in each ? series(each) : task(each)))),
]);
if (only === "") await inParallel(tools.coverage.map((each) => task(each)));
if (args.includes("--table")) for (const line of tools.table()) console.log(line);
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exitCode = counts.failed === 0 ? 0 : 1;
