import {
  createHash,
  createHmac,
  createPublicKey,
  constants as cryptoConstants,
  publicEncrypt,
  randomBytes,
} from "node:crypto";
import {
  Alg,
  algorithmName,
  type CommandHandles,
  type CommandName,
  type CommandParameters,
  type CommandResponse,
  commandOf,
  commands,
  digestSizes,
  Ht,
  handleType,
  noSymmetric,
  Rc,
  Rh,
  Se,
  SessionAttribute,
  St,
  Su,
  type SymmetricDefinition,
  TpmError,
  TpmReader,
  TpmWriter,
} from "@entresol/tpm-types";
import { nodeProvider } from "../crypto/node-provider.ts";
import { concat, u16, u32, withoutTrailingZeros } from "../engine.ts";
import { Tpm, type TpmOptions } from "../tpm.ts";

/*
 * The other side of the TPM, for tests: commands by name, from the same table, with sessions whose HMACs and ciphers are computed here, by
 * `node:crypto`, and whose responses are verified.
 */

const empty: Uint8Array = new Uint8Array(0);
const { continueSession, decrypt, encrypt } = SessionAttribute;

function hashName(hash: number): string {
  const name = algorithmName(hash).toLowerCase();
  return name.startsWith("sha3_") ? name.replace("_", "-") : name;
}
function digestOf(hash: number, ...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(
    createHash(hashName(hash))
      .update(concat(...parts))
      .digest(),
  );
}
function hmacOf(hash: number, key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(
    createHmac(hashName(hash), key)
      .update(concat(...parts))
      .digest(),
  );
}
/** KDFa for whole bytes (Part 1, 11.4.10.2). */
function kdfaBytes(
  hash: number,
  key: Uint8Array,
  label: string,
  u: Uint8Array,
  v: Uint8Array,
  length: number,
): Uint8Array {
  const blocks: Uint8Array[] = [];
  for (let counter = 1; blocks.length * digestSizes.get(hash)! < length; counter++)
    blocks.push(
      hmacOf(hash, key, u32(counter), new TextEncoder().encode(`${label}\0`), u, v, u32(8 * length)),
    );
  return concat(...blocks).subarray(0, length);
}

/** A session as its caller knows it. */
export class ClientSession {
  readonly handle: number;
  readonly kind: "hmac" | "policy" | "trial";
  readonly hash: number;
  readonly sessionKey: Uint8Array;
  readonly symmetric: SymmetricDefinition;
  nonceCaller: Uint8Array;
  nonceTpm: Uint8Array;
  /** Handle of what the session is bound to. */
  readonly bound: number;

  constructor(fields: {
    handle: number;
    kind: ClientSession["kind"];
    hash: number;
    sessionKey: Uint8Array;
    symmetric: SymmetricDefinition;
    nonceCaller: Uint8Array;
    nonceTpm: Uint8Array;
    bound: number;
  }) {
    this.handle = fields.handle;
    this.kind = fields.kind;
    this.hash = fields.hash;
    this.sessionKey = fields.sessionKey;
    this.symmetric = fields.symmetric;
    this.nonceCaller = fields.nonceCaller;
    this.nonceTpm = fields.nonceTpm;
    this.bound = fields.bound;
  }

  /** En- or decrypts a parameter (Part 1, 21). The result is a new buffer. */
  crypt(
    authValue: Uint8Array,
    newer: Uint8Array,
    older: Uint8Array,
    data: Uint8Array,
    out: boolean,
  ): Uint8Array {
    const key = concat(this.sessionKey, withoutTrailingZeros(authValue));
    const { algorithm, keyBits, hash } = this.symmetric;
    if (algorithm === Alg.XOR) {
      const mask = kdfaBytes(hash, key, "XOR", newer, older, data.length);
      return data.map((byte, i) => byte ^ mask[i]!);
    }
    const material = kdfaBytes(this.hash, key, "CFB", newer, older, keyBits / 8 + 16);
    const split = keyBits / 8;
    return nodeProvider.cipher(
      algorithm,
      Alg.CFB,
      material.subarray(0, split),
      material.subarray(split),
      data,
      out,
    );
  }
}

/** How a session goes with a command. */
export interface SessionUse {
  readonly session: ClientSession;
  /** authValue of what it authorizes; it is in the key of encryption, and of the HMAC unless `hmacAuth` says no. */
  readonly authValue?: Uint8Array;
  /** Is the authValue in the HMAC's key? By default for an HMAC session that is not bound to the entity, and not for a policy session. */
  readonly hmacAuth?: boolean;
  /** For a policy with PolicyPassword: sent as it is. */
  readonly password?: Uint8Array;
  /** TPMA_SESSION. By default continueSession. */
  readonly attributes?: number;
  /** Sent in place of the right HMAC. */
  readonly forged?: Uint8Array;
}

/** A password as it is, or a session. */
export type Auth = Uint8Array | string | SessionUse;

export interface RunOptions {
  /** One per authorization, in their order, then sessions for audit and encryption. By default empty passwords for what needs one. */
  readonly auth?: readonly Auth[];
  readonly locality?: number;
}

export type ClientResponse<N extends CommandName> = CommandResponse<N> & {
  /** Handle in the response; 0 when it has none. */
  readonly handle: number;
};

const bytesOf = (value: Uint8Array | string): Uint8Array =>
  typeof value === "string" ? new TextEncoder().encode(value) : value;
const isSession = (auth: Auth): auth is SessionUse =>
  typeof auth !== "string" && !(auth instanceof Uint8Array);

export class TpmClient {
  readonly tpm: { execute(command: Uint8Array, locality?: number): Uint8Array };

  /** A client of a TPM that is there, or of a new one. Nothing is sent yet. */
  constructor(tpm: Tpm | TpmClient["tpm"] | TpmOptions = {}) {
    this.tpm = "execute" in tpm ? tpm : new Tpm(tpm);
  }

  /** A new TPM that has been started. */
  static started(options: TpmOptions = {}): TpmClient {
    const client = new TpmClient(options);
    client.run("Startup", {}, { startupType: Su.CLEAR });
    return client;
  }

  /** Runs a command and gives its response; throws `TpmError` with the response code for every answer but success. */
  run<N extends CommandName>(
    name: N,
    handles: CommandHandles<N>,
    parameters: CommandParameters<N>,
    options: RunOptions = {},
  ): ClientResponse<N> {
    const definition = commandOf(commands[name].code)!;
    const handleList = definition.handleNames.map((key) => (handles as Record<string, number>)[key]!);
    const writer = new TpmWriter();
    for (const [key, type] of definition.parameterList)
      type.write(writer, (parameters as Record<string, unknown>)[key]);
    const response = this.runBytes(name, handleList, writer.finish(), options);
    const reader = new TpmReader(response.parameters);
    const values: Record<string, unknown> = { handle: response.handle };
    for (const [key, type] of definition.responseList) values[key] = type.read(reader);
    if (reader.remaining > 0) throw new Error(`${name}: ${reader.remaining} bytes too many in the response`);
    return values as ClientResponse<N>;
  }

  /** The response code of a command, success or not. */
  rc<N extends CommandName>(
    name: N,
    handles: CommandHandles<N>,
    parameters: CommandParameters<N>,
    options: RunOptions = {},
  ): number {
    try {
      this.run(name, handles, parameters, options);
      return Rc.SUCCESS;
    } catch (error) {
      if (error instanceof TpmError) return error.rc;
      throw error;
    }
  }

  /** As `run`, with the parameters as bytes: for what the table would not write. */
  runBytes(
    name: CommandName,
    handles: readonly number[],
    parameters: Uint8Array,
    { auth, locality = 0 }: RunOptions = {},
  ): { handle: number; parameters: Uint8Array } {
    const definition = commandOf(commands[name].code)!;
    const auths: readonly Auth[] = auth ?? definition.roles.map(() => empty);
    // What is encrypted is encrypted before anything is computed over it.
    let sent = parameters;
    const sessions = auths.filter(isSession);
    for (const use of sessions)
      use.session.nonceCaller = new Uint8Array(randomBytes(use.session.nonceTpm.length));
    const has = (use: SessionUse, bit: number): boolean => ((use.attributes ?? continueSession) & bit) !== 0;
    const encryptor = sessions.find((use) => has(use, encrypt));
    const decryptor = sessions.find((use) => has(use, decrypt));
    if (decryptor !== undefined) {
      const { session, authValue = empty } = decryptor;
      const size = (sent[0]! << 8) | sent[1]!;
      const secret = session.crypt(
        authValue,
        session.nonceCaller,
        session.nonceTpm,
        sent.subarray(2, 2 + size),
        true,
      );
      sent = concat(sent.subarray(0, 2), secret, sent.subarray(2 + size));
    }
    const names = sessions.length === 0 ? [] : handles.map((handle) => this.nameOf(handle));
    const { code } = definition;
    const area = new TpmWriter();
    for (const [index, use] of auths.entries()) {
      if (!isSession(use)) {
        area.u32(Rh.PW).sized(empty).u8(continueSession).sized(bytesOf(use));
        continue;
      }
      const { session } = use;
      const attributes = use.attributes ?? continueSession;
      const others =
        index > 0
          ? empty
          : concat(
              decryptor !== undefined && decryptor !== use ? decryptor.session.nonceTpm : empty,
              encryptor !== undefined && encryptor !== use && encryptor !== decryptor
                ? encryptor.session.nonceTpm
                : empty,
            );
      const cpHash = digestOf(session.hash, u32(code), ...names, sent);
      const key = this.#hmacKey(use, handles[index], index < definition.roles.length);
      const hmac =
        use.forged ??
        use.password ??
        (key.length === 0
          ? empty
          : hmacOf(
              session.hash,
              key,
              cpHash,
              session.nonceCaller,
              session.nonceTpm,
              others,
              Uint8Array.of(attributes),
            ));
      area.u32(session.handle).sized(session.nonceCaller).u8(attributes).sized(hmac);
    }
    const command = new TpmWriter();
    command
      .u16(auths.length > 0 ? St.SESSIONS : St.NO_SESSIONS)
      .u32(0)
      .u32(code);
    for (const handle of handles) command.u32(handle);
    if (auths.length > 0) command.u32(area.length).bytes(area.finish());
    command.bytes(sent);
    command.setU32(2, command.length);
    return this.#read(name, handles, auths, this.tpm.execute(command.finish(), locality));
  }

  /** Sends bytes and gives the response code that comes back. */
  raw(command: Uint8Array, locality = 0): number {
    return new TpmReader(this.tpm.execute(command, locality), 6).u32();
  }

  #hmacKey(use: SessionUse, handle: number | undefined, authorizes: boolean): Uint8Array {
    const { session, authValue = empty } = use;
    const byDefault = authorizes && session.kind === "hmac" && session.bound !== handle;
    const included = use.hmacAuth ?? byDefault;
    return concat(session.sessionKey, included ? withoutTrailingZeros(authValue) : empty);
  }

  #read(
    name: CommandName,
    handles: readonly number[],
    auths: readonly Auth[],
    response: Uint8Array,
  ): { handle: number; parameters: Uint8Array } {
    const definition = commandOf(commands[name].code)!;
    const reader = new TpmReader(response);
    const tag = reader.u16();
    if (reader.u32() !== response.length) throw new Error(`${name}: the response's size is not its length`);
    const rc = reader.u32();
    if (rc !== Rc.SUCCESS) throw new TpmError(rc);
    const handle = definition.responseHandle === undefined ? 0 : reader.u32();
    if (auths.length === 0) {
      if (tag !== St.NO_SESSIONS) throw new Error(`${name}: sessions in the response that were not sent`);
      return { handle, parameters: reader.take(reader.remaining) };
    }
    if (tag !== St.SESSIONS) throw new Error(`${name}: no sessions in the response`);
    let parameters = reader.take(reader.u32());
    const clear: (() => void)[] = [];
    for (const [index, use] of auths.entries()) {
      const nonceTpm = reader.take(reader.u16());
      const attributes = reader.u8();
      const hmac = reader.take(reader.u16());
      if (!isSession(use)) continue;
      const { session } = use;
      const key = this.#hmacKey(use, handles[index], index < definition.roles.length);
      const rpHash = digestOf(session.hash, u32(Rc.SUCCESS), u32(definition.code), parameters);
      // A session that the command itself ended has nothing to say any more.
      if (nonceTpm.length > 0) {
        const expected =
          use.password !== undefined || key.length === 0
            ? empty
            : hmacOf(session.hash, key, rpHash, nonceTpm, session.nonceCaller, Uint8Array.of(attributes));
        const sent = use.forged?.length === 0 ? empty : expected;
        if (!nodeProvider.equal(sent, hmac))
          throw new Error(`${name}: HMAC of session ${index + 1} is wrong`);
        session.nonceTpm = nonceTpm;
      }
      if (((use.attributes ?? continueSession) & encrypt) !== 0)
        clear.push(() => {
          const size = (parameters[0]! << 8) | parameters[1]!;
          const data = session.crypt(
            use.authValue ?? empty,
            session.nonceTpm,
            session.nonceCaller,
            parameters.subarray(2, 2 + size),
            false,
          );
          parameters = concat(parameters.subarray(0, 2), data, parameters.subarray(2 + size));
        });
    }
    if (reader.remaining > 0) throw new Error(`${name}: ${reader.remaining} bytes behind the sessions`);
    for (const decryption of clear) decryption();
    return { handle, parameters };
  }

  /** Name of a handle, which the TPM itself is asked for where it has one of its own. A sequence has none. */
  nameOf(handle: number): Uint8Array {
    switch (handleType(handle)) {
      case Ht.TRANSIENT:
      case Ht.PERSISTENT:
        try {
          return this.run("ReadPublic", { objectHandle: handle }, {}).name;
        } catch {
          return empty;
        }
      case Ht.NV_INDEX:
        return this.run("NV_ReadPublic", { nvIndex: handle }, {}).nvName;
      default:
        return u32(handle);
    }
  }

  /** Starts a session: unbound, without salt and without encryption unless asked for. */
  session({
    kind = "hmac",
    hash = Alg.SHA256,
    symmetric = noSymmetric,
    bind = Rh.NULL,
    bindAuth = empty,
    saltKey = Rh.NULL,
    nonceSize = digestSizes.get(hash)!,
  }: {
    readonly kind?: ClientSession["kind"];
    readonly hash?: number;
    readonly symmetric?: SymmetricDefinition;
    readonly bind?: number;
    readonly bindAuth?: Uint8Array;
    /** A loaded RSA decryption key for the salt. */
    readonly saltKey?: number;
    /** Bytes of the first nonce of the caller. */
    readonly nonceSize?: number;
  } = {}): ClientSession {
    const nonceCaller = new Uint8Array(randomBytes(nonceSize));
    const { salt, encryptedSalt } = saltKey === Rh.NULL ? noSalt : this.#salt(saltKey);
    const types = { hmac: Se.HMAC, policy: Se.POLICY, trial: Se.TRIAL } as const;
    const { handle, nonceTPM } = this.run(
      "StartAuthSession",
      { tpmKey: saltKey, bind },
      { nonceCaller, encryptedSalt, sessionType: types[kind], symmetric, authHash: hash },
    );
    const secret = concat(withoutTrailingZeros(bindAuth), salt);
    const keyed = bind !== Rh.NULL || saltKey !== Rh.NULL;
    const sessionKey = keyed
      ? kdfaBytes(hash, secret, "ATH", nonceTPM, nonceCaller, digestSizes.get(hash)!)
      : empty;
    return new ClientSession({
      handle,
      kind,
      hash,
      sessionKey,
      symmetric,
      nonceCaller,
      nonceTpm: nonceTPM,
      bound: bind,
    });
  }

  #salt(keyHandle: number): { salt: Uint8Array; encryptedSalt: Uint8Array } {
    const { outPublic } = this.run("ReadPublic", { objectHandle: keyHandle }, {});
    if (outPublic.type !== Alg.RSA) throw new Error("salts are made for RSA keys only");
    const salt = new Uint8Array(randomBytes(digestSizes.get(outPublic.nameAlg)!));
    const exponent = outPublic.parameters.exponent || 65537;
    const key = createPublicKey({
      key: {
        kty: "RSA",
        n: Buffer.from(outPublic.unique).toString("base64url"),
        e: Buffer.from(u32(exponent)).toString("base64url"),
      },
      format: "jwk",
    });
    const encryptedSalt = publicEncrypt(
      {
        key,
        padding: cryptoConstants.RSA_PKCS1_OAEP_PADDING,
        oaepHash: hashName(outPublic.nameAlg),
        oaepLabel: Buffer.from("SECRET\0"),
      },
      salt,
    );
    return { salt, encryptedSalt: new Uint8Array(encryptedSalt) };
  }
}
const noSalt = { salt: empty, encryptedSalt: empty };

/** AES-128 in CFB mode, as sessions use it. */
export const aes128Cfb: SymmetricDefinition = {
  ...noSymmetric,
  algorithm: Alg.AES,
  keyBits: 128,
  mode: Alg.CFB,
};

/** Name of an object by its public area's bytes. */
export function nameByHash(hash: number, publicArea: Uint8Array): Uint8Array {
  return concat(u16(hash), digestOf(hash, publicArea));
}
