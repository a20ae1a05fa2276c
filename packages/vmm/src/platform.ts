import type { Bus, Device, InterruptLine, PciHost, Timebase } from "@entresol/devices";

/**
 * The machine's PCI Express hierarchy, for functions of the embedder's own. What `attach` plugs in is there when the guest starts;
 * the others are for a guest that runs, between its slices, and tell it through the root port's slot.
 */
export type PlatformPci = Pick<PciHost, "attach" | "hotAdd" | "hotRemove" | "pressAttentionButton">;

/** What a device of the embedder's own is given. */
export interface Platform {
  /** Where it registers its ports and its memory. */
  readonly bus: Bus;
  /** Guest time and alarms. */
  readonly time: Timebase;
  /** An input of the interrupt controllers: a global system interrupt, 0 to 23. Sources that share one are OR-ed. */
  line(interrupt: number): InterruptLine;
  /** Where PCI functions are plugged in. */
  readonly pci: PlatformPci;
}

/**
 * Makes a device and registers it. Its state joins the VM's snapshots, its inspection the VM's. One that only plugs functions into
 * `pci` gives nothing back: they belong to the hierarchy.
 */
export type DeviceFactory = (platform: Platform) => Device | undefined;
