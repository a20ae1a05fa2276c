import type { TpmHost } from "./tpm-host.ts";

/*
 * The vTPM protocol of an SVSM (Secure VM Service Module specification, "vTPM Protocol", protocol 2): a guest hands a page over with a request
 * in the form of the TCG simulator's protocol, but little-endian, and finds the response in its place.
 *
 *   request:  u32 platform command (8: TPM_SEND_COMMAND)  u8 locality (0)  u32 size  command
 *   response: u32 size  response
 */

const PAGE = 4096;
const REQUEST_HEADER = 9;
const RESPONSE_HEADER = 4;
const SEND_COMMAND = 8;

/** SVSM result codes (specification, table "Result Codes"). */
export const SvsmResult = { SUCCESS: 0, INVALID_PARAMETER: 0x8000_0005 } as const;

/** SVSM_VTPM_QUERY: which platform commands there are, a bit each, and which features. For RCX and RDX. */
export const svsmVtpmQuery = { platformCommands: 1n << BigInt(SEND_COMMAND), features: 0n } as const;

/** The request of a guest that wants `command` run. For tests and for guests of our own. */
export function svsmRequest(command: Uint8Array): Uint8Array {
  const request = new Uint8Array(REQUEST_HEADER + command.length);
  const view = new DataView(request.buffer);
  view.setUint32(0, SEND_COMMAND, true);
  view.setUint32(5, command.length, true);
  request.set(command, REQUEST_HEADER);
  return request;
}

/** Serves the calls of the vTPM protocol from a TPM that has power. */
export class SvsmVtpm {
  readonly #host: TpmHost;

  constructor(host: TpmHost) {
    this.#host = host;
  }

  /**
   * SVSM_VTPM_CMD: `page` is the guest's, 4096 bytes, and gets the response. Gives the result code; the page is as it was unless that is
   * SUCCESS. Throws `RangeError` for a page of another size.
   */
  command(page: Uint8Array): number {
    if (page.length !== PAGE) throw new RangeError(`an SVSM request is a page, not ${page.length} bytes`);
    // Another processor of the guest may go on writing to the page: a size that is read twice could be checked as a small one and used as a
    // large one. All that follows works on this copy.
    const request = page.slice();
    const view = new DataView(request.buffer);
    const size = view.getUint32(5, true);
    if (view.getUint32(0, true) !== SEND_COMMAND) return SvsmResult.INVALID_PARAMETER;
    // The guest cannot prove which of its parts asks: localities above 0 are not for it to choose.
    if (view.getUint8(4) !== 0 || size > PAGE - REQUEST_HEADER) return SvsmResult.INVALID_PARAMETER;
    const response = this.#host.execute(request.subarray(REQUEST_HEADER, REQUEST_HEADER + size), 0);
    if (response.length > PAGE - RESPONSE_HEADER) return SvsmResult.INVALID_PARAMETER;
    new DataView(page.buffer, page.byteOffset, PAGE).setUint32(0, response.length, true);
    page.set(response, RESPONSE_HEADER);
    return SvsmResult.SUCCESS;
  }
}
