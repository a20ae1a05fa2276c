export { type Campaign, oracleCampaign } from "./campaign.ts";
export { ioapicOracle } from "./ioapic-oracle.ts";
export { type DeviceOracle, Lockstep } from "./lockstep.ts";
export { differenceLines, oracles } from "./oracles.ts";
export { pciOracle } from "./pci-oracle.ts";
export { picOracle } from "./pic-oracle.ts";
export { pitOracle } from "./pit-oracle.ts";
export { rtcOracle } from "./rtc-oracle.ts";
export { uartOracle, uartTimeoutOracle } from "./uart-oracle.ts";
