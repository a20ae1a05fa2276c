import {
  type CommandHandles,
  type CommandName,
  type CommandParameters,
  type CommandResponse,
  commandOf,
  commands,
  Rc,
  Rh,
  SessionAttribute,
  St,
  TpmReader,
  TpmWriter,
} from "@entresol/tpm-types";
import type { TpmExecutor } from "@entresol/vtpm";

const HEADER = 10;
const nothing: Uint8Array = new Uint8Array(0);

/** A command as firmware sends it: what needs authorization gets the empty password, which everything has when power comes. */
function encode<N extends CommandName>(
  name: N,
  handles: CommandHandles<N>,
  parameters: CommandParameters<N>,
): Uint8Array {
  const { code, handleNames, roles, parameterList } = commandOf(commands[name].code)!;
  const writer = new TpmWriter();
  writer
    .u16(roles.length > 0 ? St.SESSIONS : St.NO_SESSIONS)
    .u32(0)
    .u32(code);
  for (const handle of handleNames) writer.u32((handles as Record<string, number>)[handle]!);
  if (roles.length > 0) {
    const area = new TpmWriter();
    for (const _ of roles) area.u32(Rh.PW).sized(nothing).u8(SessionAttribute.continueSession).sized(nothing);
    writer.u32(area.length).bytes(area.finish());
  }
  for (const [key, type] of parameterList) type.write(writer, (parameters as Record<string, unknown>)[key]);
  writer.setU32(2, writer.length);
  return writer.finish();
}

/** The TPM as firmware uses it before any guest runs: one command after the other, each waited for, at locality 0. */
export class FirmwareTpm {
  readonly #executor: TpmExecutor;

  constructor(executor: TpmExecutor) {
    this.#executor = executor;
  }

  /** Gives the response's parameters; undefined for any response code but TPM_RC_SUCCESS. */
  run<N extends CommandName>(
    name: N,
    handles: CommandHandles<N>,
    parameters: CommandParameters<N>,
  ): CommandResponse<N> | undefined {
    this.#executor.start(encode(name, handles, parameters), 0);
    const response = this.#executor.finish() ?? nothing;
    if (response.length < HEADER) return undefined;
    const { roles, responseHandle, responseList } = commandOf(commands[name].code)!;
    const reader = new TpmReader(response, 6);
    if (reader.u32() !== Rc.SUCCESS) return undefined;
    if (responseHandle !== undefined) reader.u32();
    if (roles.length > 0) reader.u32();
    const values: Record<string, unknown> = {};
    for (const [key, type] of responseList) values[key] = type.read(reader);
    return values as CommandResponse<N>;
  }
}
