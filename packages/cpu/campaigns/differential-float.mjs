export const description = "x87, MMX, SSE and SSE2 against the processor of this machine";
export const defaultCount = 1_000_000;

export async function* run(request) {
  const { differentialCampaign } = await import("../dist/src/differential/campaign.js");
  yield* differentialCampaign(request, { groups: ["sse", "mmx", "x87", "transcendental"] });
}
