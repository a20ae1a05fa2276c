import type { Operation } from "./lockstep.ts";
import { type ComparedFunction, comparedFunctions, type Region } from "./pci-functions.ts";

export const addressPort = 0xcf8;
export const dataPort = 0xcfc;
/** Where QEMU's enhanced configuration access is put. */
export const ecamBase = 0xb000_0000;
const whole = 0xffff_ffff;

/** A dword of configuration space that is compared. */
export interface Place {
  readonly fn: ComparedFunction;
  readonly region: Region;
  /** Offset in the region. */
  readonly offset: number;
  readonly compared: number;
  /** CONFIG_ADDRESS in QEMU. */
  readonly address: number;
}

/** Bus numbers that the guest gives to the bus behind the root port; 0 is another's. */
const busesBehind = [1, 2, 3] as const;

export const allPlaces: readonly Place[] = comparedFunctions.flatMap((fn) =>
  fn.regions.flatMap((region) =>
    region.dwords.flatMap(([offset, compared]) =>
      (fn.behindRootPort === true ? busesBehind : [0]).map((bus) => ({
        fn,
        region,
        offset,
        compared,
        address: 0x8000_0000 + (bus << 16) + (fn.device << 11) + region.at + offset,
      })),
    ),
  ),
);
const places = new Map(allPlaces.map((place) => [place.address, place]));

/** An access to configuration space. */
export interface Target {
  /** CONFIG_ADDRESS that means the dword; without the enable bit there is no access. */
  readonly address: number;
  /** Undefined when nobody is there. */
  readonly place: Place | undefined;
  /** Byte of the dword. */
  readonly lane: number;
}

/** What `operation` accesses when CONFIG_ADDRESS is `address`; undefined when it is no access to configuration space. */
export function targetOf(operation: Operation, address: number): Target | undefined {
  const enabled = (address & 0x80ff_fffc) >>> 0;
  if (operation.kind === "port read" || operation.kind === "port write") {
    if (operation.port < dataPort) return undefined;
    return { address: enabled, place: places.get(enabled), lane: operation.port & 3 };
  }
  if (operation.kind !== "memory read" && operation.kind !== "memory write") return undefined;
  const offset = operation.at - ecamBase;
  const meant = 0x8000_0000 + ((offset >>> 12) << 8) + (offset & 0xfc);
  return { address: meant, place: places.get(meant), lane: offset & 3 };
}

/** Bits of what `operation` reads that are compared. */
export function comparedBits(operation: Operation, address: number): number {
  const target = targetOf(operation, address);
  return target?.place === undefined ? whole : target.place.compared >>> (8 * target.lane);
}

/** Address of a dword in enhanced configuration access. */
export const ecamAt = ({ address }: Place): number =>
  ecamBase + ((address >>> 8) & 0xffff) * 0x1000 + (address & 0xfc);
