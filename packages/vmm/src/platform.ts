import type { Bus, Device, InterruptLine, Timebase } from "@entresol/devices";

/** What a device of the embedder's own is given. */
export interface Platform {
  /** Where it registers its ports and its memory. */
  readonly bus: Bus;
  /** Guest time and alarms. */
  readonly time: Timebase;
  /** An input of the interrupt controllers: a global system interrupt, 0 to 23. Sources that share one are OR-ed. */
  line(interrupt: number): InterruptLine;
}

/** Makes a device and registers it. Its state joins the VM's snapshots, its inspection the VM's. */
export type DeviceFactory = (platform: Platform) => Device;
