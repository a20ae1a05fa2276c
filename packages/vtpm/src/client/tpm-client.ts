import { randomBytes } from "node:crypto";
import {
  Alg,
  type CommandHandles,
  type CommandName,
  type CommandParameters,
  type CommandResponse,
  commandOf,
  commands,
  Ht,
  handleType,
  Rh,
  Se,
  TpmWriter,
} from "@entresol/tpm-types";
import {
  type Authorization,
  buildCommand,
  isPassword,
  passwordBytes,
  readParameters,
  readResponse,
  slotOf,
} from "./messages.ts";
import { authKey, bigEndian, digestSize, kdfa, makeSalt, noBytes } from "./session-keys.ts";
import { aes128Cfb, type SessionOptions, TpmSession } from "./tpm-session.ts";
import type { TpmTransport } from "./transport.ts";

export interface RunOptions {
  /** One for each handle that needs an authorization, in their order, then sessions for encryption or audit. By default empty passwords. */
  readonly auth?: readonly Authorization[];
  readonly locality?: number;
}

/** A command's answer: its parameters by their names in Part 3, and the handle that came with them, or 0. */
export type Answer<N extends CommandName> = CommandResponse<N> & { readonly handle: number };

/**
 * A TPM as a program uses it: commands by name from the table that the engine itself is driven by, with password, HMAC and policy sessions.
 * What the TPM answers with a session is verified before it is given out. Commands run one after the other.
 */
export class TpmClient {
  readonly #transport: TpmTransport;
  #last: Promise<unknown> = Promise.resolve();

  constructor(transport: TpmTransport) {
    this.#transport = transport;
  }

  close(): void {
    this.#transport.close();
  }

  /** Runs a command. Rejects with `TpmError` for every response code but success, and with `TpmClientError`. */
  run<N extends CommandName>(
    name: N,
    handles: CommandHandles<N>,
    parameters: CommandParameters<N>,
    options: RunOptions = {},
  ): Promise<Answer<N>> {
    // One at a time: a session's nonces are those of the command before.
    const result = this.#last.then(
      () => this.#run(name, handles, parameters, options),
      () => this.#run(name, handles, parameters, options),
    );
    this.#last = result;
    return result;
  }

  async #run<N extends CommandName>(
    name: N,
    handles: CommandHandles<N>,
    parameters: CommandParameters<N>,
    { auth, locality = 0 }: RunOptions,
  ): Promise<Answer<N>> {
    const definition = commandOf(commands[name].code)!;
    const handleList = definition.handleNames.map((key) => (handles as Record<string, number>)[key]!);
    const writer = new TpmWriter();
    for (const [key, type] of definition.parameterList)
      type.write(writer, (parameters as Record<string, unknown>)[key]);
    const authorizations = auth ?? definition.roles.map(() => noBytes);
    const names = authorizations.every(isPassword) ? [] : await this.#names(handleList);
    const slots = authorizations.map((each, i) =>
      slotOf(each, i < definition.roles.length ? names[i] : undefined),
    );
    const command = buildCommand(definition, handleList, names, slots, writer.finish());
    const response = await this.#transport.send(command, locality);
    const read = readResponse(definition, slots, response);
    return { ...readParameters(definition, read.parameters), handle: read.handle } as Answer<N>;
  }

  async #names(handles: readonly number[]): Promise<Uint8Array[]> {
    const names: Uint8Array[] = [];
    for (const handle of handles) names.push(await this.#name(handle));
    return names;
  }

  /** What a handle stands for in a cpHash (Part 1, 16): the TPM is asked for Names of its objects and indices. */
  async #name(handle: number): Promise<Uint8Array> {
    switch (handleType(handle)) {
      case Ht.TRANSIENT:
      case Ht.PERSISTENT:
        return (await this.#run("ReadPublic", { objectHandle: handle }, {}, {})).name;
      case Ht.NV_INDEX:
        return (await this.#run("NV_ReadPublic", { nvIndex: handle }, {}, {})).nvName;
      default:
        return bigEndian(handle, 4);
    }
  }

  /** Starts a session; `FlushContext` ends it. */
  async startSession(options: SessionOptions = {}): Promise<TpmSession> {
    const { kind = "hmac", hash = Alg.SHA256, symmetric = aes128Cfb, bind, saltKey = Rh.NULL } = options;
    const nonceCaller = new Uint8Array(randomBytes(digestSize(hash)));
    const salted =
      saltKey === Rh.NULL
        ? { salt: noBytes, encryptedSalt: noBytes }
        : makeSalt((await this.run("ReadPublic", { objectHandle: saltKey }, {})).outPublic);
    const boundName = bind === undefined ? undefined : await this.#name(bind.handle);
    const sessionType = { hmac: Se.HMAC, policy: Se.POLICY, trial: Se.TRIAL }[kind];
    const { handle, nonceTPM } = await this.run(
      "StartAuthSession",
      { tpmKey: saltKey, bind: bind?.handle ?? Rh.NULL },
      { nonceCaller, encryptedSalt: salted.encryptedSalt, sessionType, symmetric, authHash: hash },
    );
    const secret = Buffer.concat([authKey(passwordBytes(bind?.auth ?? noBytes)), salted.salt]);
    const key =
      bind === undefined && saltKey === Rh.NULL
        ? noBytes
        : kdfa(hash, secret, "ATH", nonceTPM, nonceCaller, digestSize(hash));
    return new TpmSession(handle, { kind, hash, symmetric }, boundName, {
      key,
      nonceCaller,
      nonceTpm: nonceTPM,
    });
  }
}
