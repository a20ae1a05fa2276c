/*
 * Cost of the bus: an access through `Bus` to a device, beside the same call straight to an empty handler. The devices are of
 * several classes and take turns, so that neither side profits from a call site that only ever saw one.
 */
import { Bus } from "../dist/index.js";
import { compare } from "./rounds/compare.mjs";

// Distinct classes: the engine must not be able to inline one handler.
const classes = [
  class {
    portRead() {
      return 1;
    }
    portWrite() {}
    mmioRead() {
      return 1;
    }
    mmioWrite() {}
  },
  class {
    portRead() {
      return 2;
    }
    portWrite() {}
    mmioRead() {
      return 2;
    }
    mmioWrite() {}
  },
  class {
    portRead() {
      return 3;
    }
    portWrite() {}
    mmioRead() {
      return 3;
    }
    mmioWrite() {}
  },
  class {
    portRead() {
      return 4;
    }
    portWrite() {}
    mmioRead() {
      return 4;
    }
    mmioWrite() {}
  },
  class {
    portRead() {
      return 5;
    }
    portWrite() {}
    mmioRead() {
      return 5;
    }
    mmioWrite() {}
  },
];

const ranges = 32;
const bus = new Bus();
const devices = Array.from({ length: ranges }, (_, i) => new classes[i % classes.length]());
const mmioBases = devices.map((_, i) => 0xe000_0000 + i * 0x10_0000);
for (const [i, device] of devices.entries()) {
  bus.registerPorts(`ports ${i}`, 0x100 * i, 16, device);
  bus.registerMmio(`mmio ${i}`, mmioBases[i], 0x1000, device);
}

/** Calls straight to the devices and through the bus, over the same sequence of devices. */
const cases = [
  {
    name: "port read, 32 devices in turn",
    direct: (i) => devices[i & 31].portRead((i & 31) << 8, 1),
    ours: (i) => bus.portRead((i & 31) << 8, 1),
  },
  {
    name: "port write, 32 devices in turn",
    direct: (i) => devices[i & 31].portWrite((i & 31) << 8, 1, i),
    ours: (i) => bus.portWrite((i & 31) << 8, 1, i),
  },
  {
    name: "port read, same device",
    direct: () => devices[3].portRead(0x300, 1),
    ours: () => bus.portRead(0x300, 1),
  },
  {
    name: "unclaimed port read",
    direct: () => devices[3].portRead(0x80, 1),
    ours: () => bus.portRead(0x80, 1),
  },
  {
    name: "MMIO read, 32 ranges in turn",
    direct: (i) => devices[i & 31].mmioRead(0x10, 4),
    ours: (i) => bus.mmioRead(mmioBases[i & 31] + 0x10, 4),
  },
  {
    name: "MMIO write, same range",
    direct: (i) => devices[3].mmioWrite(0x10, 4, i),
    ours: (i) => bus.mmioWrite(mmioBases[3] + 0x10, 4, i),
  },
];

export async function bench() {
  return cases.map(({ name, direct, ours }) =>
    compare(name, ours, direct, "direct call of an empty handler"),
  );
}

if (process.argv[1] === new URL(import.meta.url).pathname) console.table(await bench());
