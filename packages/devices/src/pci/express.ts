import type { Capability } from "./capabilities.ts";
import type { ConfigRegister } from "./config-space.ts";

/** Offsets from the start of the PCI Express capability (PCIe 5.0, 7.5.3) of the dwords with effects. */
export const expressOffsets = { deviceControl: 0x08, link: 0x10, slot: 0x18 } as const;

/** Function-level reset: reads 0, writing 1 resets. */
export const initiateReset = 1 << 15;

/** Bits of Link Control, and of Link Status as the upper half of the same dword. */
export const linkBits = {
  disable: 1 << 4,
  speedAndWidth: 0x03ff << 16,
  /** 2.5 GT/s, one lane. */
  trained: 0x0011 << 16,
  active: 1 << 29,
} as const;

/** Bits of Slot Control, and of Slot Status as the upper half of the same dword. */
export const slotBits = {
  eventEnables: 0x001f,
  interruptEnable: 1 << 5,
  attentionIndicator: 3 << 6,
  powerIndicator: 3 << 8,
  powerOff: 1 << 10,
  linkChangeEnable: 1 << 12,
  attentionPressed: 1 << 16,
  presenceChanged: 1 << 19,
  commandCompleted: 1 << 20,
  present: 1 << 22,
  linkChanged: 1 << 24,
} as const;

export interface SlotOptions {
  /** Physical slot number, 1 to 8191. */
  readonly number: number;
  readonly attentionButton: boolean;
  readonly powerController: boolean;
}

const common = (at: number, type: number, slot: boolean, flr: boolean): ConfigRegister[] => [
  {
    name: "Express capabilities",
    at: at + 0x02,
    bytes: 2,
    reset: 0x0002 | (type << 4) | (slot ? 0x0100 : 0),
    writable: 0,
    bits: "3:0 version, 7:4 type, 8 slot, 13:9 message number",
    why: "7.5.3.2",
  },
  {
    name: "Device capabilities",
    at: at + 0x04,
    bytes: 4,
    reset: 0x8000 | (flr ? 0x1000_0000 : 0),
    writable: 0,
    bits: "2:0 payload of 128 bytes, 15 role-based errors, 28 function-level reset",
    why: "7.5.3.3",
  },
  {
    name: "Device control",
    at: at + 0x08,
    bytes: 2,
    reset: 0x2810,
    writable: 0x78ff,
    sticky: 0x00e0,
    effect: "device control",
    bits: "3:0 error reports, 4 relaxed order, 7:5 payload, 11 no snoop, 14:12 read request, 15 function-level reset",
    why: "7.5.3.4; bit 15 reads 0; 6.6.2: a function-level reset leaves the payload size alone",
  },
  {
    name: "Device status",
    at: at + 0x0a,
    bytes: 2,
    reset: 0,
    writable: 0,
    clear: 0x000f,
    bits: "3:0 errors seen",
    why: "7.5.3.5",
  },
];

const second = (at: number): ConfigRegister[] => [
  {
    name: "Device capabilities 2",
    at: at + 0x24,
    bytes: 4,
    reset: 0,
    writable: 0,
    bits: "–",
    why: "7.5.3.15: nothing optional",
  },
  { name: "Device control 2", at: at + 0x28, bytes: 2, reset: 0, writable: 0, bits: "–", why: "7.5.3.16" },
  { name: "Device status 2", at: at + 0x2a, bytes: 2, reset: 0, writable: 0, bits: "–", why: "7.5.3.17" },
];

const link = (
  at: number,
  capabilities: number,
  control: number,
  status: number,
  effect: boolean,
): ConfigRegister[] => [
  {
    name: "Link capabilities",
    at: at + 0x0c,
    bytes: 4,
    reset: 0x0011 | capabilities,
    writable: 0,
    bits: "3:0 speed, 9:4 width, 20 reports link active, 31:24 port",
    why: "7.5.3.6: 2.5 GT/s, one lane",
  },
  {
    name: "Link control",
    at: at + 0x10,
    bytes: 2,
    reset: 0,
    writable: control,
    sticky: control & 0x00cb,
    ...(effect ? ({ effect: "link" } as const) : {}),
    bits: "1:0 ASPM, 3 completion boundary, 4 disable, 6 common clock, 7 extended sync",
    why: "7.5.3.7; only a port can disable; retraining (5) reads 0",
  },
  {
    name: "Link status",
    at: at + 0x12,
    bytes: 2,
    reset: status,
    writable: 0,
    status: effect ? 0x23ff : 0,
    bits: "3:0 speed, 9:4 width, 13 link active",
    why: "7.5.3.8",
  },
];

const linkSecond = (at: number): ConfigRegister[] => [
  {
    name: "Link capabilities 2",
    at: at + 0x2c,
    bytes: 4,
    reset: 0x2,
    writable: 0,
    bits: "7:1 speeds",
    why: "7.5.3.18",
  },
  {
    name: "Link control 2",
    at: at + 0x30,
    bytes: 2,
    reset: 0x1,
    writable: 0xf,
    sticky: 0xf,
    bits: "3:0 target speed",
    why: "7.5.3.19",
  },
  { name: "Link status 2", at: at + 0x32, bytes: 2, reset: 0, writable: 0, bits: "–", why: "7.5.3.20" },
];

/** PCI Express capability of an endpoint behind a port, or of one integrated in the root complex, which has no link. */
export function endpointExpress(integrated: boolean): Capability {
  return {
    name: "Express",
    id: 0x10,
    length: 0x3c,
    registers: (at) => [
      ...common(at, integrated ? 9 : 0, false, true),
      ...(integrated ? [] : link(at, 0, 0x00cb, 0x0011, false)),
      ...second(at),
      ...(integrated ? [] : linkSecond(at)),
    ],
  };
}

/** PCI Express capability of a root port with a hot-plug slot. */
export function rootPortExpress(slot: SlotOptions): Capability {
  const { number, attentionButton, powerController } = slot;
  // 7.5.3.9: both indicators, hot-plug capable, with surprise; 25 W.
  const abilities = 0x0000_0078 | (attentionButton ? 1 : 0) | (powerController ? 2 : 0) | (25 << 7);
  return {
    name: "Express",
    id: 0x10,
    length: 0x3c,
    registers: (at) => [
      ...common(at, 4, true, false),
      ...link(at, 0x0010_0000 | (number << 24), 0x00db, 0, true),
      {
        name: "Slot capabilities",
        at: at + 0x14,
        bytes: 4,
        reset: ((number << 19) | abilities) >>> 0,
        writable: 0,
        bits: "0 attention button, 1 power controller, 3 attention and 4 power indicator, 5 surprise, 6 hot-plug, 14:7 power, 31:19 number",
        why: "7.5.3.9",
      },
      {
        name: "Slot control",
        at: at + 0x18,
        bytes: 2,
        // Indicators are off; with a power controller the power is, until the system asks for it.
        reset: powerController ? 0x07c0 : 0x03c0,
        writable: powerController ? 0x17ff : 0x13ff,
        effect: "slot",
        bits: "4:0 event enables, 5 interrupt, 7:6 attention and 9:8 power indicator, 10 power off, 12 link change enable",
        why: "7.5.3.10",
      },
      {
        name: "Slot status",
        at: at + 0x1a,
        bytes: 2,
        reset: 0,
        writable: 0,
        clear: 0x011f,
        status: 0x0159,
        effect: "slot",
        bits: "0 button, 1 power fault, 3 presence changed, 4 command completed, 6 present, 8 link changed",
        why: "7.5.3.11; 6.7.3 for when each is set",
      },
      {
        name: "Root control",
        at: at + 0x1c,
        bytes: 2,
        reset: 0,
        writable: 0x000f,
        bits: "2:0 system errors, 3 PME interrupt",
        why: "7.5.3.12: nothing behind sends errors or PME messages",
      },
      {
        name: "Root capabilities",
        at: at + 0x1e,
        bytes: 2,
        reset: 0,
        writable: 0,
        bits: "–",
        why: "7.5.3.13",
      },
      {
        name: "Root status",
        at: at + 0x20,
        bytes: 4,
        reset: 0,
        writable: 0,
        clear: 0x0001_0000,
        bits: "16 PME",
        why: "7.5.3.14",
      },
      ...second(at),
      ...linkSecond(at),
      {
        name: "Slot capabilities 2",
        at: at + 0x34,
        bytes: 4,
        reset: 0,
        writable: 0,
        bits: "–",
        why: "7.5.3.21",
      },
      {
        name: "Slot control and status 2",
        at: at + 0x38,
        bytes: 4,
        reset: 0,
        writable: 0,
        bits: "–",
        why: "7.5.3.22",
      },
    ],
  };
}
