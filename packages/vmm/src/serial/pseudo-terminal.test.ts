import { expect, it, vi } from "vitest";
import { openSerialEnd } from "./index.ts";

vi.mock("koffi", () => {
  throw new Error("Cannot find package 'koffi'");
});

it("a pty where koffi is not installed is refused with what to use instead", async () => {
  await expect(openSerialEnd({ kind: "pty" })).rejects.toMatchObject({
    code: "unavailable",
    message: expect.stringMatching(/optional package koffi.*socket:unix:PATH/),
  });
});
