export const description =
  "integer, string, stack, branch and system instructions against the processor of this machine";
export const defaultCount = 1_000_000;

export async function* run(request) {
  const { differentialCampaign } = await import("../dist/src/differential/campaign.js");
  yield* differentialCampaign(request, {
    groups: ["integer", "string", "stack", "branch", "system", "invalid"],
  });
}
