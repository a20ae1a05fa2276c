// Our UART beside QEMU's, with time for every time-out: specs/qemu-oracle.md.
import { oracleCampaign, uartTimeoutOracle } from "../dist/testing/index.js";

export const { description, defaultCount, run } = oracleCampaign(uartTimeoutOracle);
