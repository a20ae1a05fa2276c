// Our 8254 beside QEMU's: specs/qemu-oracle.md.
import { oracleCampaign, pitOracle } from "../dist/testing/index.js";

export const { description, defaultCount, run } = oracleCampaign(pitOracle);
