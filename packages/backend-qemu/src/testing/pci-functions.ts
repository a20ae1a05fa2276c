import {
  type Capability,
  endpointExpress,
  MsiCapability,
  MsixCapability,
  PciBridge,
  PciFunction,
  type PciFunctionOptions,
  powerCapability,
  subsystemCapability,
  vendorCapability,
} from "@entresol/devices";

/** Bits of a dword that are compared. */
const whole = 0xffff_ffff;

/** A run of dwords in a function's configuration space, which need not lie at the same offset in both. */
export interface Region {
  readonly name: string;
  /** Offset in QEMU's function. */
  readonly at: number;
  /** ID of the capability that it begins with, which may be elsewhere in ours; undefined for the header. */
  readonly capability?: number;
  /** Dwords by their offset in the region: the bits that are compared. */
  readonly dwords: readonly (readonly [offset: number, compared: number])[];
}

/** A function that QEMU has and that ours is made like. */
export interface ComparedFunction {
  readonly name: string;
  /** QEMU's -device argument without the address. */
  readonly argument: string;
  /** Device number on bus 0; 0 behind the root port. */
  readonly device: number;
  readonly behindRootPort?: boolean;
  readonly regions: readonly Region[];
  /** Has ports, which would be mapped over others if I/O were switched on. */
  readonly hasPorts: boolean;
  /** Has function-level reset in QEMU. */
  readonly hasReset: boolean;
  /** Undefined for the root port, which the host makes. */
  readonly make: (() => PciFunction) | undefined;
}

const dwords = (...offsets: readonly number[]): (readonly [number, number])[] =>
  offsets.map((offset) => [offset, whole] as const);

const commonHeader = dwords(0x00, 0x04, 0x08, 0x0c);
const endpointHeader: Region = {
  name: "header",
  at: 0,
  dwords: [...commonHeader, ...dwords(0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x28, 0x2c, 0x30), [0x3c, whole]],
};
/** Of both status registers not what a conventional bridge says of its two buses. */
const withoutSpeed = 0xff5f_ffff;
const bridgeHeader: Region = {
  name: "bridge header",
  at: 0,
  dwords: [
    ...dwords(0x00, 0x08, 0x0c, 0x10, 0x14, 0x18, 0x20, 0x24, 0x28, 0x2c, 0x30, 0x38, 0x3c),
    [0x04, withoutSpeed],
    [0x1c, withoutSpeed],
  ],
};
/** Of a capability's first dword the ID, not where the next one is. */
const withoutNext = 0xffff_00ff;

/** QEMU's functions have 64-bit MSI without mask bits. */
const msi = (at: number): Region => ({
  name: "MSI",
  at,
  capability: 0x05,
  dwords: [
    [0, withoutNext & ~(1 << 24)],
    [0x04, whole],
    [0x08, whole],
    [0x0c, 0xffff],
  ],
});
const msix = (at: number): Region => ({
  name: "MSI-X",
  at,
  capability: 0x11,
  dwords: [[0, withoutNext], ...dwords(0x04, 0x08)],
});
const power = (at: number): Region => ({
  name: "power management",
  at,
  capability: 0x01,
  dwords: [
    [0, withoutNext],
    [0x04, whole],
  ],
});
/** Of the Express capability what a guest changes. What the functions are able to, they say each for itself. */
const express = (at: number): Region => ({
  name: "Express",
  at,
  capability: 0x10,
  dwords: [
    [0, 0x00f0_00ff],
    [0x08, whole],
  ],
});

const answer = { mmioRead: () => 0, mmioWrite() {} };

function endpoint(
  name: string,
  argument: string,
  device: number,
  options: Omit<PciFunctionOptions, "name" | "capabilities">,
  capabilities: () => readonly (readonly [Capability, Region?])[] = () => [],
): ComparedFunction {
  return {
    name,
    argument,
    device,
    hasPorts: (options.bars ?? []).some(({ kind }) => kind === "io"),
    hasReset: name === "nvme",
    regions: [
      endpointHeader,
      ...capabilities().flatMap(([, region]) => (region === undefined ? [] : [region])),
    ],
    // Capabilities hold state: each function gets its own.
    make: () =>
      new PciFunction({ ...options, name, capabilities: capabilities().map(([capability]) => capability) }),
  };
}

const edu = (device: number): ComparedFunction =>
  endpoint(
    "edu",
    "edu",
    device,
    {
      vendor: 0x1234,
      device: 0x11e8,
      revision: 0x10,
      classCode: 0x00ff00,
      subsystemVendor: 0x1af4,
      subsystem: 0x1100,
      interruptPin: 1,
      bars: [{ index: 0, kind: "memory32", size: 1 << 20, device: answer }],
    },
    () => [[new MsiCapability(1), msi(0x40)]],
  );

/** A root port with a slot: QEMU's has a power controller, and MSI-X where ours has MSI. */
export const rootPort: ComparedFunction = {
  name: "root port",
  argument: "pcie-root-port,id=downstream,chassis=1,slot=1",
  device: 0x1c,
  hasPorts: false,
  hasReset: false,
  regions: [
    // The first BAR is that of QEMU's MSI-X.
    { ...bridgeHeader, dwords: bridgeHeader.dwords.filter(([offset]) => offset !== 0x10) },
    {
      name: "Express",
      at: 0x54,
      capability: 0x10,
      dwords: [
        [0x08, whole],
        [0x18, whole],
        [0x1c, whole],
      ],
    },
  ],
  make: undefined,
};

/** One of each kind that QEMU offers: BARs of every kind, every capability, a bridge. */
export const comparedFunctions: readonly ComparedFunction[] = [
  rootPort,
  { ...edu(0), argument: "edu,bus=downstream", behindRootPort: true },
  edu(0x04),
  endpoint("pci-testdev", "pci-testdev", 0x05, {
    vendor: 0x1b36,
    device: 0x0005,
    classCode: 0x00ff00,
    subsystemVendor: 0x1af4,
    subsystem: 0x1100,
    bars: [
      { index: 0, kind: "memory32", size: 4096, device: answer },
      { index: 1, kind: "io", size: 256, device: answer },
    ],
  }),
  endpoint(
    "xhci",
    "nec-usb-xhci,msi=on,msix=on",
    0x07,
    {
      vendor: 0x1033,
      device: 0x0194,
      revision: 3,
      classCode: 0x0c0330,
      subsystemVendor: 0x1af4,
      subsystem: 0x1100,
      interruptPin: 1,
      bars: [{ index: 0, kind: "memory64", size: 1 << 14, device: answer }],
    },
    () => [
      [new MsiCapability(16), msi(0x70)],
      [new MsixCapability({ vectors: 16, bar: 0, table: 0x3000, pending: 0x3800 }), msix(0x90)],
      [endpointExpress(true), express(0xa0)],
    ],
  ),
  endpoint(
    "nvme",
    "nvme,serial=1",
    0x09,
    {
      vendor: 0x1b36,
      device: 0x0010,
      revision: 2,
      classCode: 0x010802,
      subsystemVendor: 0x1af4,
      subsystem: 0x1100,
      interruptPin: 1,
      bars: [{ index: 0, kind: "memory64", size: 1 << 14, device: answer }],
    },
    () => [
      [new MsixCapability({ vectors: 65, bar: 0, table: 0x2000, pending: 0x3000 }), msix(0x40)],
      [powerCapability(false), power(0x60)],
      [endpointExpress(true), express(0x80)],
    ],
  ),
  endpoint(
    "virtio-rng",
    "virtio-rng-pci",
    0x08,
    {
      vendor: 0x1af4,
      device: 0x1005,
      classCode: 0x00ff00,
      subsystemVendor: 0x1af4,
      subsystem: 4,
      interruptPin: 1,
      bars: [
        { index: 0, kind: "io", size: 32, device: answer },
        { index: 1, kind: "memory32", size: 4096, device: answer },
        { index: 4, kind: "memory64", size: 1 << 14, prefetchable: true, device: answer },
      ],
    },
    // For the five of QEMU's, which are VIRTIO's own.
    () => [[vendorCapability(new Uint8Array(1))]],
  ),
  endpoint("ivshmem", "ivshmem-plain,memdev=shared", 0x0c, {
    vendor: 0x1af4,
    device: 0x1110,
    revision: 1,
    classCode: 0x050000,
    subsystemVendor: 0x1af4,
    subsystem: 0x1100,
    bars: [
      { index: 0, kind: "memory32", size: 256, device: answer },
      { index: 2, kind: "memory64", size: 1 << 20, prefetchable: true, device: answer },
    ],
  }),
  endpoint(
    "vmxnet3",
    "vmxnet3,romfile=",
    0x0b,
    {
      vendor: 0x15ad,
      device: 0x07b0,
      revision: 1,
      classCode: 0x020000,
      subsystemVendor: 0x15ad,
      subsystem: 0x07b0,
      interruptPin: 1,
      bars: [
        { index: 0, kind: "memory32", size: 4096, device: answer },
        { index: 1, kind: "memory32", size: 4096, device: answer },
        { index: 2, kind: "memory32", size: 8192, device: answer },
      ],
    },
    () => [
      [new MsiCapability(1), msi(0x84)],
      [new MsixCapability({ vectors: 25, bar: 2, table: 0, pending: 0x1000 }), msix(0x9c)],
    ],
  ),
  {
    name: "bridge",
    argument: "i82801b11-bridge",
    device: 0x0a,
    hasPorts: false,
    hasReset: false,
    regions: [bridgeHeader],
    make: () =>
      new PciBridge({
        name: "bridge",
        vendor: 0x8086,
        device: 0x244e,
        revision: 0x92,
        classCode: 0x060401,
        capabilities: [subsystemCapability(0, 0)],
      }),
  },
];
