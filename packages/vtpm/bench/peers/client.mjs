/* Commands by name, written and read by the tables of @entresol/tpm-types. Every authorization is an empty password. */
import { commandOf, commands, Rh, SessionAttribute, St, TpmReader, TpmWriter } from "@entresol/tpm-types";

const empty = new Uint8Array(0);

/** The bytes of a command: `handles` and `parameters` by their names in the table. */
function commandBytes(name, handles, parameters) {
  const { code, handleNames, parameterList, roles } = commandOf(commands[name].code);
  const writer = new TpmWriter(1024);
  writer
    .u16(roles.length > 0 ? St.SESSIONS : St.NO_SESSIONS)
    .u32(0)
    .u32(code);
  for (const handle of handleNames) writer.u32(handles[handle]);
  if (roles.length > 0) {
    const area = new TpmWriter();
    for (const _ of roles) area.u32(Rh.PW).sized(empty).u8(SessionAttribute.continueSession).sized(empty);
    writer.u32(area.length).bytes(area.finish());
  }
  for (const [parameter, type] of parameterList) type.write(writer, parameters[parameter]);
  writer.setU32(2, writer.length);
  return writer.finish();
}

/** The fields of a response by their names, and `handle`. Throws for a response that is not success. */
function responseOf(name, bytes) {
  const { responseHandle, responseList, roles } = commandOf(commands[name].code);
  const reader = new TpmReader(bytes, 6);
  const rc = reader.u32();
  if (rc !== 0) throw new Error(`${name}: response code 0x${rc.toString(16)}`);
  const values = { handle: responseHandle === undefined ? undefined : reader.u32() };
  if (roles.length > 0) reader.u32();
  for (const [field, type] of responseList) values[field] = type.read(reader);
  return values;
}

export class Client {
  #line;
  constructor(line) {
    this.#line = line;
  }

  async run(name, handles = {}, parameters = {}) {
    return responseOf(name, await this.#line.send(commandBytes(name, handles, parameters)));
  }

  flush(flushHandle) {
    return this.run("FlushContext", {}, { flushHandle });
  }
}
