// PCI configuration space of our functions beside QEMU's: specs/qemu-oracle.md.
import { oracleCampaign, pciOracle } from "../dist/testing/index.js";

export const { description, defaultCount, run } = oracleCampaign(pciOracle);
