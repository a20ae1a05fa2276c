// Our 8259 pair beside QEMU's: specs/qemu-oracle.md.
import { oracleCampaign, picOracle } from "../dist/testing/index.js";

export const { description, defaultCount, run } = oracleCampaign(picOracle);
