import { readdirSync, readFileSync } from "node:fs";
import { Rc, Rh, Su } from "@entresol/tpm-types";
import { describe, expect, it } from "vitest";
import { STATE_VERSION } from "./saved-state.ts";
import { openState, StateKind } from "./sealed-state.ts";
import { TpmClient } from "./testing/client.ts";
import { goldenAnswers, goldenEpoch, goldenKey, goldenStates } from "./testing/golden-states.ts";
import { Tpm } from "./tpm.ts";

const folder = new URL("./golden/", import.meta.url);
const golden = (version: number, name: string): Uint8Array =>
  new Uint8Array(readFileSync(new URL(`version${version}-${name}`, folder)));
const answersOf = (version: number): unknown =>
  JSON.parse(Buffer.from(golden(version, "answers.json")).toString());
const versions = [
  ...new Set(
    readdirSync(folder).flatMap((name) => {
      const version = /^version(\d+)-/.exec(name)?.[1];
      return version === undefined ? [] : [Number(version)];
    }),
  ),
];

describe("the golden states", () => {
  it("are those of every version up to today's", () => {
    expect(versions.toSorted()).toEqual(Array.from({ length: STATE_VERSION }, (_, n) => n + 1));
  });

  it("are what today's build saves, to the byte: another format is another version, with files of its own", () => {
    const states = goldenStates();
    for (const name of ["permanent", "volatile", "shutdown", "unencrypted"] as const)
      expect(Buffer.from(states[name]).equals(golden(STATE_VERSION, `${name}.bin`)), name).toBe(true);
  });

  describe.each(versions)("of version %i", (version) => {
    it("restore, and answer what the TPM answered that saved them", () => {
      const tpm = new Tpm({ permanent: golden(version, "permanent.bin"), now: () => 0 });
      tpm.restoreVolatile(golden(version, "volatile.bin"));
      expect(goldenAnswers(tpm)).toEqual(answersOf(version));
    });

    it("go on from their Shutdown(STATE), with their PCR and sessions", () => {
      const tpm = new Tpm({ permanent: golden(version, "shutdown.bin"), now: () => 0 });
      const client = new TpmClient(tpm);
      client.run("Startup", {}, { startupType: Su.STATE });
      const pcrSelectionIn = [{ hash: 0x000b, pcrSelect: Uint8Array.of(0xff, 0, 0) }];
      const before = new Tpm({ permanent: golden(version, "permanent.bin"), now: () => 0 });
      before.restoreVolatile(golden(version, "volatile.bin"));
      const { pcrValues } = client.run("PCR_Read", {}, { pcrSelectionIn });
      expect(pcrValues).toEqual(new TpmClient(before).run("PCR_Read", {}, { pcrSelectionIn }).pcrValues);
      expect(client.run("ReadClock", {}, {}).currentTime.clockInfo.restartCount).toBe(1);
      // An orderly counter goes on from what it was.
      const handles = { authHandle: Rh.OWNER, nvIndex: 0x0150_0005 };
      expect(client.run("NV_Read", handles, { size: 8, offset: 0 }).data).toEqual(
        new TpmClient(before).run("NV_Read", handles, { size: 8, offset: 0 }).data,
      );
    });

    it("open by their key, and are the same without one", () => {
      const permanent = golden(version, "permanent.bin");
      const opened = { epoch: goldenEpoch, state: permanent };
      expect(openState(StateKind.permanent, golden(version, "sealed.bin"), goldenKey)).toEqual(opened);
      expect(openState(StateKind.permanent, golden(version, "unencrypted.bin"), undefined)).toEqual(opened);
    });

    it("hold keys that a start from the permanent state alone derives again", () => {
      const client = new TpmClient({ permanent: golden(version, "permanent.bin"), now: () => 0 });
      expect(client.rc("Startup", {}, { startupType: Su.STATE })).not.toBe(Rc.SUCCESS);
      client.run("Startup", {}, { startupType: Su.CLEAR });
      const names = answersOf(version) as Record<string, string>;
      const { name } = client.run("ReadPublic", { objectHandle: 0x8100_0001 }, {});
      expect(Buffer.from(name).toString("hex")).toBe(names["Name of 81000001"]);
    });
  });
});
