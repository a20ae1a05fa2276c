import { expect, test } from "vitest";
import { platform, platformTime } from "../testing/quote-evidence.ts";
import { compareCollateral } from "./compare.ts";

const at = platformTime;
const { quote, collateral, roots } = platform();
/** A TCB recovery later: the platform's level is the second one now. */
const { tcbInfo } = platform({
  tcbInfo: (info) => {
    const [first] = info.tcbLevels;
    info.tcbEvaluationDataNumber = 21;
    if (first === undefined) return;
    const newer = structuredClone(first);
    newer.tcb.pcesvn = 12;
    Object.assign(first, { tcbStatus: "OutOfDate", advisoryIDs: ["INTEL-SA-21"] });
    info.tcbLevels.unshift(newer);
  },
}).collateral;

test("a set that is ahead judges the same quote otherwise, and the comparison says by what", async () => {
  const { views, agree, differences } = await compareCollateral(
    "tdx",
    { quote },
    { early: { ...collateral, tcbInfo }, standard: collateral },
    { at, roots },
  );
  expect(agree).toBe(false);
  expect(views.map(({ name, outcome }) => [name, outcome.tcb?.status])).toEqual([
    ["early", "OutOfDate"],
    ["standard", "UpToDate"],
  ]);
  expect(differences).toEqual([
    "TCB status: early OutOfDate, standard UpToDate",
    "platform: early OutOfDate, standard UpToDate",
    "advisories: early INTEL-SA-21, standard none",
    "evaluation numbers: early 21/20, standard 20/20",
  ]);
});

test("sets that come to the same agree", async () => {
  const sets = { one: collateral, other: { ...collateral } };
  expect(await compareCollateral("tdx", { quote }, sets, { at, roots })).toMatchObject({
    agree: true,
    differences: [],
  });
});

test("a set that is not complete is compared by what it lets be judged", async () => {
  const { pckCrl: _, ...rest } = collateral;
  const { agree, differences } = await compareCollateral(
    "tdx",
    { quote },
    { whole: collateral, part: rest },
    { at, roots },
  );
  expect(agree).toBe(true);
  expect(differences).toEqual(["pck.revocation: whole passed, part not-run"]);
});
