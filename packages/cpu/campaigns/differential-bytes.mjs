export const description =
  "random bytes as code, one instruction each, against the processor of this machine";
export const defaultCount = 1_000_000;

export async function* run(request) {
  const { differentialCampaign } = await import("../dist/src/differential/campaign.js");
  yield* differentialCampaign(request, { randomBytes: true });
}
