// Our RTC beside QEMU's: specs/qemu-oracle.md.
import { oracleCampaign, rtcOracle } from "../dist/testing/index.js";

export const { description, defaultCount, run } = oracleCampaign(rtcOracle);
