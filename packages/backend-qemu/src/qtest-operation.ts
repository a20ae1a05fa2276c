import { QtestError } from "./qtest-error.ts";

export type AccessWidth = 1 | 2 | 4;

/** One access that a test makes, in the form that batches take. Values are unsigned and little endian. */
export type QtestOperation =
  | { readonly kind: "port read"; readonly port: number; readonly width: AccessWidth }
  | {
      readonly kind: "port write";
      readonly port: number;
      readonly width: AccessWidth;
      readonly value: number;
    }
  | { readonly kind: "memory read"; readonly at: number; readonly width: AccessWidth }
  | {
      readonly kind: "memory write";
      readonly at: number;
      readonly width: AccessWidth;
      readonly value: number;
    }
  /** Drives input `line` of the device at `path` in QEMU's object tree. */
  | { readonly kind: "input"; readonly path: string; readonly line: number; readonly level: boolean };

const portSuffix = { 1: "b", 2: "w", 4: "l" } as const;

const hex = (value: number): string => `0x${value.toString(16)}`;

function refuse(what: string): never {
  throw new QtestError("bad-argument", what);
}

function checkedWidth(width: number): "b" | "w" | "l" {
  return portSuffix[width as AccessWidth] ?? refuse(`an access of ${width} bytes`);
}

/** QEMU ends with an assertion on a port above 0xFFFF. */
function checkedPort(port: number): string {
  return Number.isInteger(port) && port >= 0 && port <= 0xffff ? hex(port) : refuse(`port ${port}`);
}

/** Guest physical addresses stay below 2^53, where a number is exact. */
export function checkedAddress(at: number): string {
  return Number.isSafeInteger(at) && at >= 0 ? hex(at) : refuse(`address ${at}`);
}

function checkedValue(value: number, width: AccessWidth): string {
  const fits = Number.isInteger(value) && value >= 0 && value < 2 ** (8 * width);
  return fits ? hex(value) : refuse(`value ${value} in ${width} bytes`);
}

/** A path in QEMU's object tree. White space would start another word of the command, a line break another command. */
export function checkedPath(path: string): string {
  return /^[\w./[\]-]{1,200}$/.test(path) ? path : refuse(`object path ${JSON.stringify(path)}`);
}

/** The command without its line break. Throws `QtestError` "bad-argument". */
export function commandOf(operation: QtestOperation): string {
  switch (operation.kind) {
    case "port read":
      return `in${checkedWidth(operation.width)} ${checkedPort(operation.port)}`;
    case "port write":
      return `out${checkedWidth(operation.width)} ${checkedPort(operation.port)} ${checkedValue(operation.value, operation.width)}`;
    case "memory read":
      return `read${checkedWidth(operation.width)} ${checkedAddress(operation.at)}`;
    case "memory write":
      return `write${checkedWidth(operation.width)} ${checkedAddress(operation.at)} ${checkedValue(operation.value, operation.width)}`;
    case "input": {
      const { path, line, level } = operation;
      if (!Number.isInteger(line) || line < 0 || line > 255) refuse(`input ${line}`);
      return `set_irq_in ${checkedPath(path)} unnamed-gpio-in ${line} ${level ? 1 : 0}`;
    }
    default:
      return operation satisfies never;
  }
}
