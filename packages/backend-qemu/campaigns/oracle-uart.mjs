// Our UART beside QEMU's: specs/qemu-oracle.md.
import { oracleCampaign, uartOracle } from "../dist/testing/index.js";

export const { description, defaultCount, run } = oracleCampaign(uartOracle);
