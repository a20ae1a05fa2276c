// Our IOAPIC beside QEMU's: specs/qemu-oracle.md.
import { ioapicOracle, oracleCampaign } from "../dist/testing/index.js";

export const { description, defaultCount, run } = oracleCampaign(ioapicOracle);
