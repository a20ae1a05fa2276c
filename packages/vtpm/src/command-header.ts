import { St, TpmWriter } from "@entresol/tpm-types";

/* The ten bytes before everything else (Part 1, 18.2): tag, size, and the code of the command or of the response. */

export const COMMAND_HEADER = 10;

/** A response of nothing but a code. */
export function bareResponse(rc: number): Uint8Array {
  return new TpmWriter(COMMAND_HEADER).u16(St.NO_SESSIONS).u32(COMMAND_HEADER).u32(rc).finish();
}

/** TPM2_Startup or TPM2_Shutdown. */
export function powerCommand(code: number, type: number): Uint8Array {
  return new TpmWriter(COMMAND_HEADER + 2)
    .u16(St.NO_SESSIONS)
    .u32(COMMAND_HEADER + 2)
    .u32(code)
    .u16(type)
    .finish();
}

/** Of a whole response. */
export function responseCode(response: Uint8Array): number {
  return new DataView(response.buffer, response.byteOffset, response.byteLength).getUint32(6);
}

/** Undefined when not all of the header is there. */
export function commandCode(command: Uint8Array): number | undefined {
  if (command.length < COMMAND_HEADER) return undefined;
  return new DataView(command.buffer, command.byteOffset, command.byteLength).getUint32(6);
}
