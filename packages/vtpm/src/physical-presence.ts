import { type Device, type Inspection, type MmioDevice, SavedFields } from "@entresol/devices";
import { Alg, commands, Rc, Rh, St, TpmWriter } from "@entresol/tpm-types";
import type { TpmExecutor } from "./executor.ts";
import { accessMask, type InterfaceRegister, tpmBase, tpmLength } from "./interface-registers.ts";

/** Where the mailbox lies, behind the TPM's own pages; the DSDT says so to its own methods only. */
export const presenceBase: number = tpmBase + tpmLength;
export const presenceLength = 0x20;

/** What methods of the TPM's _DSM read and write (Physical Presence Interface 1.30, 8). */
export const presenceRegisters = {
  function: {
    name: "FUNCTION",
    at: 0x00,
    access: "wo",
    reset: 0,
    writable: 0,
    bits: "31:0 function of the _DSM",
    why: "a write does it, and fills the registers from RETURN on",
  },
  operation: {
    name: "OPERATION",
    at: 0x04,
    access: "rw",
    reset: 0,
    writable: 0xffff_ffff,
    bits: "31:0 operation that is asked for or asked about",
    why: "functions 2, 7 and 8",
  },
  argument: {
    name: "ARGUMENT",
    at: 0x08,
    access: "rw",
    reset: 0,
    writable: 0xffff_ffff,
    bits: "31:0 of the operation",
    why: "function 7: the banks of SetPCRBanks",
  },
  return: {
    name: "RETURN",
    at: 0x0c,
    access: "ro",
    reset: 0,
    writable: 0,
    bits: "31:0 the function's code",
    why: "functions 2 to 5, 7 and 8",
  },
  result0: {
    name: "RESULT0",
    at: 0x10,
    access: "ro",
    reset: 0,
    writable: 0,
    bits: "31:0 operation",
    why: "function 3: that waits; function 5: that was done last",
  },
  result1: {
    name: "RESULT1",
    at: 0x14,
    access: "ro",
    reset: 0,
    writable: 0,
    bits: "31:0 argument, or response",
    why: "function 3: of the one that waits; function 5: 0, or the TPM's response code",
  },
} as const satisfies Record<string, InterfaceRegister>;

/** Functions of the _DSM that need the mailbox; 0, 1 and 6 say the same at all times. */
const PresenceFunction = {
  submit: 2,
  pending: 3,
  transition: 4,
  response: 5,
  submitWithArgument: 7,
  confirmation: 8,
} as const;

const Submission = { accepted: 0, notSupported: 1, failure: 2 } as const;
const Confirmation = { notImplemented: 0, allowed: 4 } as const;
/** To reach the software that does what was asked, the machine must be restarted. */
const restart = 2;
const firmwareFailure = 0xffff_fff1;

/** Bits of SetPCRBanks, as the TCG EFI protocol numbers hash algorithms; these banks there are. */
const banks = [Alg.SHA1, Alg.SHA256, Alg.SHA384, Alg.SHA512] as const;

/** An operation that may be asked for. */
export interface PresenceOperation {
  readonly code: number;
  readonly name: string;
  /** May the argument be so? */
  readonly accepts: (argument: number) => boolean;
  /** What is sent to the TPM by platform authorization; undefined: nothing. */
  readonly command?: (argument: number) => Uint8Array;
  /** It takes effect at the TPM's next reset. */
  readonly restarts?: boolean;
}

const any = (): boolean => true;

/** A command on the platform hierarchy, whose authorization value is still empty when the machine starts. */
function platformCommand(code: number, parameters: Uint8Array = new Uint8Array(0)): Uint8Array {
  const length = 27 + parameters.length;
  return new TpmWriter(length)
    .u16(St.SESSIONS)
    .u32(length)
    .u32(code)
    .u32(Rh.PLATFORM)
    .u32(9)
    .u32(Rh.PW)
    .u16(0)
    .u8(0)
    .u16(0)
    .bytes(parameters)
    .finish();
}

const clear = (): Uint8Array => platformCommand(commands.Clear.code);

function allocate(mask: number): Uint8Array {
  const selections = new TpmWriter().u32(banks.length);
  banks.forEach((bank, i) => {
    const select = ((mask >>> i) & 1) === 0 ? 0 : 0xff;
    selections.u16(bank).u8(3).u8(select).u8(select).u8(select);
  });
  return platformCommand(commands.PCR_Allocate.code, selections.finish());
}

/**
 * Operations of the specification's table that mean something to a TPM 2.0 here. All are allowed without a person at the console, for a virtual
 * machine has none: whoever can make the request in the guest can take the TPM's owner hierarchy over anyhow. What would hide the TPM from
 * the guest is not implemented.
 */
export const presenceOperations: readonly PresenceOperation[] = [
  { code: 0, name: "no operation", accepts: any },
  { code: 1, name: "enable", accepts: any },
  { code: 5, name: "clear", accepts: any, command: clear },
  { code: 14, name: "clear and enable", accepts: any, command: clear },
  { code: 21, name: "enable and clear", accepts: any, command: clear },
  { code: 22, name: "enable, clear and enable", accepts: any, command: clear },
  {
    code: 23,
    name: "set PCR banks",
    // A TPM without any bank measures nothing, and nobody would notice.
    accepts: (mask) => mask !== 0 && mask >>> banks.length === 0,
    command: allocate,
    restarts: true,
  },
  {
    code: 24,
    name: "change EPS",
    accepts: any,
    command: () => platformCommand(commands.ChangeEPS.code),
  },
];
const operationOf = (code: number): PresenceOperation | undefined =>
  presenceOperations.find((operation) => operation.code === code);

export interface PresenceState {
  readonly version: 1;
  readonly operation: number;
  readonly argument: number;
  readonly return: number;
  readonly result0: number;
  readonly result1: number;
  readonly pending: number;
  readonly pendingArgument: number;
  readonly last: number;
  readonly lastResponse: number;
}

/**
 * The mailbox behind the TPM's _DSM: an operating system asks for something that only firmware may do, and it is done when the machine starts
 * next, before the guest runs.
 */
export class PhysicalPresence implements MmioDevice, Device<PresenceState> {
  readonly name: string;
  readonly #registers = new DataView(new ArrayBuffer(presenceLength));
  #pending = 0;
  #pendingArgument = 0;
  #last = 0;
  #lastResponse = 0;

  constructor(name = "tpm presence") {
    this.name = name;
  }

  mmioRead(offset: number, width: 1 | 2 | 4): number {
    let value = 0;
    for (let i = 0; i < width; i++) {
      if (offset + i < presenceLength) value |= this.#registers.getUint8(offset + i) << (8 * i);
    }
    return value >>> 0;
  }

  mmioWrite(offset: number, width: 1 | 2 | 4, value: number): void {
    const shift = offset & 3;
    if (shift + width > 4) {
      for (let i = 0; i < width; i++) this.mmioWrite(offset + i, 1, (value >>> (8 * i)) & 0xff);
      return;
    }
    const at = offset - shift;
    const mask = accessMask(shift, width);
    const bits = ((value << (8 * shift)) & mask) >>> 0;
    if (at === presenceRegisters.function.at) this.#do(bits);
    else if (at === presenceRegisters.operation.at || at === presenceRegisters.argument.at)
      this.#set(at, (this.#get(at) & ~mask) | bits);
  }

  #get(at: number): number {
    return this.#registers.getUint32(at, true);
  }
  #set(at: number, value: number): void {
    this.#registers.setUint32(at, value, true);
  }

  #answer(code: number, result0 = 0, result1 = 0): void {
    this.#set(presenceRegisters.return.at, code);
    this.#set(presenceRegisters.result0.at, result0);
    this.#set(presenceRegisters.result1.at, result1);
  }

  #do(code: number): void {
    switch (code) {
      case PresenceFunction.submit:
        this.#answer(this.#submit(0));
        return;
      case PresenceFunction.submitWithArgument:
        this.#answer(this.#submit(this.#get(presenceRegisters.argument.at)));
        return;
      case PresenceFunction.pending:
        this.#answer(0, this.#pending, this.#pendingArgument);
        return;
      case PresenceFunction.transition:
        this.#answer(restart);
        return;
      case PresenceFunction.response:
        this.#answer(0, this.#last, this.#lastResponse);
        return;
      case PresenceFunction.confirmation: {
        const known = operationOf(this.#get(presenceRegisters.operation.at)) !== undefined;
        this.#answer(known ? Confirmation.allowed : Confirmation.notImplemented);
        return;
      }
      default:
        this.#answer(Submission.notSupported);
    }
  }

  #submit(argument: number): number {
    const operation = operationOf(this.#get(presenceRegisters.operation.at));
    if (operation === undefined) return Submission.notSupported;
    if (!operation.accepts(argument)) return Submission.failure;
    this.#pending = operation.code;
    this.#pendingArgument = argument;
    return Submission.accepted;
  }

  /**
   * Does what waits, behind TPM2_Startup and before the platform's authorization value is set. True: reset the TPM, start it up again. What was
   * asked for is done once, whatever comes of it.
   */
  perform(executor: TpmExecutor): boolean {
    const operation = operationOf(this.#pending);
    if (this.#pending === 0 || operation === undefined) return false;
    const command = operation.command?.(this.#pendingArgument);
    this.#last = this.#pending;
    this.#pending = 0;
    this.#pendingArgument = 0;
    this.#lastResponse = Rc.SUCCESS;
    if (command === undefined) return false;
    executor.start(command, 0);
    const response = executor.finish();
    this.#lastResponse = response === undefined ? firmwareFailure : responseCodeOf(response);
    return operation.restarts === true && this.#lastResponse === Rc.SUCCESS;
  }

  /** The mailbox is empty; what waits, waits for this. */
  reset(): void {
    for (let at = 0; at < presenceLength; at += 4) this.#set(at, 0);
  }

  save(): PresenceState {
    return {
      version: 1,
      operation: this.#get(presenceRegisters.operation.at),
      argument: this.#get(presenceRegisters.argument.at),
      return: this.#get(presenceRegisters.return.at),
      result0: this.#get(presenceRegisters.result0.at),
      result1: this.#get(presenceRegisters.result1.at),
      pending: this.#pending,
      pendingArgument: this.#pendingArgument,
      last: this.#last,
      lastResponse: this.#lastResponse,
    };
  }

  restore(state: unknown): void {
    const fields = SavedFields.open(this.name, state, 1);
    const values = [
      [presenceRegisters.operation.at, fields.dword("operation")],
      [presenceRegisters.argument.at, fields.dword("argument")],
      [presenceRegisters.return.at, fields.dword("return")],
      [presenceRegisters.result0.at, fields.dword("result0")],
      [presenceRegisters.result1.at, fields.dword("result1")],
    ] as const;
    const pending = fields.dword("pending");
    const pendingArgument = fields.dword("pendingArgument");
    const last = fields.dword("last");
    const lastResponse = fields.dword("lastResponse");
    fields.end();
    fields.require(
      operationOf(pending)?.accepts(pendingArgument) === true,
      "what waits is an operation that there is",
    );
    this.reset();
    for (const [at, value] of values) this.#set(at, value);
    this.#pending = pending;
    this.#pendingArgument = pendingArgument;
    this.#last = last;
    this.#lastResponse = lastResponse;
  }

  inspect(): Inspection {
    return {
      pending: operationOf(this.#pending)?.name ?? "none",
      argument: this.#pendingArgument,
      last: operationOf(this.#last)?.name ?? "none",
      response: this.#lastResponse,
    };
  }
}

function responseCodeOf(response: Uint8Array): number {
  return new DataView(response.buffer, response.byteOffset, response.byteLength).getUint32(6);
}
