import { FwCfg, TestDevice, testLineCount } from "@entresol/devices";
import type { CheckedConfig } from "./config.ts";
import type { DeviceFactory } from "./platform.ts";
import type { RunControl } from "./run-control.ts";

/** Input 2 of the 8259 pair is its cascade, and pin 2 of the IOAPIC the timer's: no line leads there. */
const cascade = 2;

/** What test kernels for QEMU expect of the machine; `testDevice` of the config. */
export function testDevices(config: CheckedConfig, control: RunControl): DeviceFactory[] {
  return [
    ({ bus, line }) => {
      const device = new TestDevice({
        name: "test device",
        lines: Array.from({ length: testLineCount }, (_, n) => (n === cascade ? undefined : line(n))),
        exit: (value) => control.finish({ kind: "test-exit", value }),
      });
      device.register(bus);
      return device;
    },
    ({ bus }) => {
      const device = new FwCfg({ name: "fw_cfg", memorySize: config.memory, processors: config.cpus });
      device.register(bus);
      return device;
    },
  ];
}
