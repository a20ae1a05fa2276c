import { commands } from "@entresol/tpm-types";
import { describe, expect, it } from "vitest";
import { information } from "./information.ts";
import type { ProfileName } from "./profiles.ts";

const told = (flags: bigint, profile?: ProfileName) => JSON.parse(information(flags, profile));

describe("GET_INFO", () => {
  it("has a part for each of eight bits, and passes over the others", () => {
    const names = Array.from({ length: 10 }, (_, bit) => Object.keys(told(1n << BigInt(bit))));
    expect(names).toEqual([
      ["TPMSpecification"],
      ["TPMAttributes"],
      ["TPMFeatures"],
      ["RuntimeAlgorithms"],
      ["RuntimeCommands"],
      ["ActiveProfile"],
      ["AvailableProfiles"],
      ["RuntimeAttributes"],
      [],
      [],
    ]);
    expect(Object.keys(told(7n))).toEqual(["TPMSpecification", "TPMAttributes", "TPMFeatures"]);
  });

  it("names the commands that there are, by ranges of codes", () => {
    const { Implemented, Enabled, Disabled } = told(16n).RuntimeCommands;
    expect(Enabled).toBe(Implemented);
    expect(Disabled).toBe("");
    const has = (code: number): boolean =>
      (Implemented as string).split(",").some((range) => {
        const [first = "", last = first] = range.split("-");
        return code >= Number(first) && code <= Number(last);
      });
    expect(has(commands.Startup.code)).toBe(true);
    expect(has(commands.CertifyX509.code)).toBe(true);
    expect([has(0x11e), has(0x123), has(0xfff)]).toEqual([false, false, false]);
  });

  it("tells what the profile offers: what libtpms does, or all", () => {
    expect(told(4n).TPMFeatures.RSAKeySizes).toEqual([1024, 2048, 3072, 4096]);
    expect(told(4n, "entresol").TPMFeatures.RSAKeySizes).toEqual([2048, 3072, 4096]);
    expect(told(32n).ActiveProfile).toMatchObject({ Name: "default-v1" });
    expect(told(32n).ActiveProfile.Algorithms).not.toContain("sha3-");
    expect(told(32n, "entresol").ActiveProfile.Algorithms).toContain("sha3-384");
    expect(told(64n).AvailableProfiles.map(({ Name }: { Name: string }) => Name)).toEqual([
      "default-v1",
      "entresol",
    ]);
  });
});
