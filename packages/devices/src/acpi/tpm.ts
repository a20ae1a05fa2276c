import { Writer } from "@entresol/wire";
import { type Aml, buffer, device, integer, name, nameString, packageOf, returns, string } from "./aml.ts";
import {
  argument,
  derefOf,
  equal,
  greater,
  index,
  operationRegion,
  registerField,
  serializedMethod,
  sizeOf,
  store,
  uuid,
  when,
} from "./aml-code.ts";
import { resourceTemplate } from "./resources.ts";

/*
 * What the tables say about a TPM 2.0: the table `TPM2` by which a kernel finds its registers and the log of what was measured before
 * it ran, and the device that its driver binds to. TCG ACPI Specification 1.3 (TAS).
 */

/** A TPM as the tables see it. */
export interface AcpiTpm {
  /** `crb`: command response buffer; `tis`: FIFO. */
  readonly interface: "crb" | "tis";
  /** Registers of all localities. */
  readonly base: number;
  readonly length: number;
  /** Offset of the control area of locality 0 from `base`; only the CRB interface has one. */
  readonly controlArea: number;
  /** Where the event log is, in memory that the kernel does not take as its own. 64 KiB at least (TAS 8). */
  readonly log: { readonly gpa: number; readonly length: number };
  /**
   * Where the registers of the physical presence interface are, six of 32 bits: function (a write does it), operation, argument, what it
   * returns, and two results. Without them the operating system can ask the firmware for nothing.
   */
  readonly presence?: number;
}

/** TAS 8.1, table 9: how a command is started, and so which driver binds. */
const startMethod = { tis: 6, crb: 7 } as const;
const client = 0;

/** TAS 8, table 8, behind the header: revision 4. */
export function tpm2Body({ interface: kind, base, controlArea, log }: AcpiTpm): Uint8Array {
  const body = new Writer().u16(client).u16(0);
  body.u64(kind === "crb" ? base + controlArea : 0).u32(startMethod[kind]);
  // Parameters of the start method: these two have none.
  body.zeros(12);
  return body.u32(log.length).u64(log.gpa).finish();
}

/** The device of the namespace, for \_SB. It has no interrupt: drivers poll. */
export function tpmDevice({ base, length, presence }: AcpiTpm): Aml {
  const present = 0xf;
  return device(
    "TPM",
    name("_HID", string("MSFT0101")),
    name("_CID", string("MSFT0101")),
    name("_UID", integer(0)),
    name("_STR", unicode("TPM 2.0 Device")),
    name("_STA", integer(present)),
    name("_CRS", resourceTemplate([{ type: "memory", base, length }])),
    ...(presence === undefined ? [] : presenceInterface(presence)),
  );
}

/** PPI 8: the functions of _DSM that there are, by their numbers. */
const presenceFunctions = {
  query: 0,
  version: 1,
  submit: 2,
  pending: 3,
  transition: 4,
  response: 5,
  language: 6,
  submitWithArgument: 7,
  confirmation: 8,
} as const;
const presenceId = "3DDDFAA6-361B-4EB4-A424-8D10089D1653";
/** PPI 8.1.7: the languages of the firmware's texts cannot be chosen. */
const notImplemented = 3;

/**
 * Physical Presence Interface 1.30 (PPI), 8: the operating system leaves a request, and firmware does it when the machine starts next. Each
 * function is the mailbox's, which the method fills and empties.
 */
function presenceInterface(at: number): Aml[] {
  const f = presenceFunctions;
  const [given, operation, result] = ["FUNC", "OPER", "RETN"].map(nameString) as [Aml, Aml, Aml];
  const parameters = argument(3);
  const first = store(derefOf(index(parameters, 0)), operation);
  const run = (code: number): Aml => store(integer(code), given);
  const onFunction = (code: number, ...terms: Aml[]): Aml =>
    when(equal(argument(2), integer(code)), ...terms);
  const into = (list: string, from: readonly string[]): Aml[] =>
    from.map((field, n) => store(nameString(field), index(nameString(list), n)));
  const three = [...into("PPI3", ["RETN", "RES0", "RES1"]), returns(nameString("PPI3"))];
  return [
    operationRegion("PPIM", "memory", at, 0x18),
    registerField(
      "PPIM",
      ["FUNC", "OPER", "ARGU", "RETN", "RES0", "RES1"].map((field) => ({ name: field, bits: 32 })),
    ),
    name("PPI2", packageOf(integer(0), integer(0))),
    name("PPI3", packageOf(integer(0), integer(0), integer(0))),
    // Serialized: the mailbox holds one question at a time.
    serializedMethod(
      "_DSM",
      4,
      when(
        equal(argument(0), uuid(presenceId)),
        onFunction(f.query, returns(buffer(Uint8Array.of(0xff, 0x01)))),
        onFunction(f.version, returns(string("1.3"))),
        onFunction(f.submit, first, store(integer(0), nameString("ARGU")), run(f.submit), returns(result)),
        onFunction(
          f.pending,
          run(f.pending),
          // Revision 2 of the function knows of arguments.
          when(equal(argument(1), integer(2)), ...three),
          ...into("PPI2", ["RETN", "RES0"]),
          returns(nameString("PPI2")),
        ),
        onFunction(f.transition, run(f.transition), returns(result)),
        onFunction(f.response, run(f.response), ...three),
        onFunction(f.language, returns(integer(notImplemented))),
        onFunction(
          f.submitWithArgument,
          first,
          store(integer(0), nameString("ARGU")),
          when(
            greater(sizeOf(parameters), integer(1)),
            store(derefOf(index(parameters, 1)), nameString("ARGU")),
          ),
          run(f.submitWithArgument),
          returns(result),
        ),
        onFunction(f.confirmation, first, run(f.confirmation), returns(result)),
      ),
      returns(buffer(Uint8Array.of(0))),
    ),
  ];
}

/** 6.1.10: text as a buffer of UTF-16, with its NUL. */
function unicode(text: string): Aml {
  return buffer(Buffer.from(`${text}\0`, "utf16le"));
}
