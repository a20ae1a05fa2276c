import { describe, expect, it } from "vitest";
import { type BootOptions, bootOptions, checkBootOptions, usualTpm } from "./boot-options.ts";

function parsed(...args: string[]): BootOptions {
  return bootOptions()
    .exitOverride()
    .configureOutput({ writeErr() {} })
    .parse(args, { from: "user" })
    .opts<BootOptions>();
}
const refusal = (...args: string[]): string => {
  try {
    checkBootOptions(parsed(...args));
    return "taken";
  } catch (error) {
    return (error as Error).message;
  }
};

describe("the TPM of `entresol boot`", () => {
  it("is a CRB for Debian guests, and none for others", () => {
    expect([[], ["--guest", "debian13"]].map((args) => usualTpm(parsed(...args)))).toEqual(["crb", "crb"]);
    const others = [
      ["--guest", "test"],
      ["--kernel", "k"],
      ["--multiboot", "k"],
    ];
    expect(others.map((args) => usualTpm(parsed(...args)))).toEqual(["none", "none", "none"]);
  });

  it("is what --tpm says", () => {
    expect(["crb", "tis", "none"].map((kind) => parsed("--tpm", kind).tpm)).toEqual(["crb", "tis", "none"]);
    expect(() => parsed("--tpm", "1.2")).toThrow(/Allowed choices are crb, tis, none/);
  });

  it("stays in a folder only where there is one", () => {
    expect(refusal("--tpm-state", "d")).toBe("taken");
    expect(refusal("--kernel", "k", "--tpm", "tis", "--tpm-state", "d")).toBe("taken");
    expect(refusal("--resume", "s", "--tpm-state", "d")).toBe("taken");
    expect(refusal("--tpm", "none", "--tpm-state", "d")).toBe(
      "--tpm-state goes with a TPM, not with --tpm none",
    );
    expect(refusal("--kernel", "k", "--tpm-state", "d")).toBe(
      "--tpm-state goes with --tpm crb or --tpm tis for this guest",
    );
  });
});
