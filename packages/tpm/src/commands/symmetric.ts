import { Alg, Max, ObjectAttribute, ofHandle, ofParameter, Rc, TpmError } from "@entresol/tpm-types";
import type { Handlers } from "../command.ts";
import type { Engine } from "../engine.ts";
import { selectMac } from "../message-authentication.ts";
import { hasAttributes, objectOf } from "../objects.ts";
import { beginsGenerated } from "../sequences.ts";
import { hashCheckTicket, nullTicket, ticketTag } from "../tickets.ts";

/* TPM2_EncryptDecrypt, EncryptDecrypt2, Hash and HMAC, which is TPM2_MAC as well (Part 3, clause 15). */

const { restricted, decrypt, sign } = ObjectAttribute;
/** Of the ciphers that there are. */
const BLOCK = Max.SYM_BLOCK;

interface Cipher {
  readonly keyHandle: number;
  readonly decrypting: boolean;
  readonly wantedMode: number;
  readonly iv: Uint8Array;
  readonly data: Uint8Array;
  /** Numbers of the parameters, which the two commands have in different places. */
  readonly places: { readonly mode: number; readonly iv: number; readonly data: number };
}

function encryptDecrypt(engine: Engine, cipher: Cipher): { outData: Uint8Array; ivOut: Uint8Array } {
  const { keyHandle, decrypting, iv, data, places } = cipher;
  const { publicArea, sensitive } = objectOf(engine, keyHandle, ofHandle(Rc.KEY, 1));
  if (publicArea.type !== Alg.SYMCIPHER) throw new TpmError(ofHandle(Rc.KEY, 1));
  if (hasAttributes(publicArea, restricted) || !hasAttributes(publicArea, decrypting ? decrypt : sign))
    throw new TpmError(ofHandle(Rc.ATTRIBUTES, 1));
  const { algorithm, mode: own } = publicArea.parameters.sym;
  if (own === Alg.CMAC) throw new TpmError(ofHandle(Rc.MODE, 1));
  const mode = cipher.wantedMode === Alg.NULL ? own : cipher.wantedMode;
  if (mode === Alg.NULL || (own !== Alg.NULL && own !== mode))
    throw new TpmError(ofParameter(Rc.MODE, places.mode));
  if (iv.length !== (mode === Alg.ECB ? 0 : BLOCK)) throw new TpmError(ofParameter(Rc.SIZE, places.iv));
  if ((mode === Alg.CBC || mode === Alg.ECB) && data.length % BLOCK !== 0)
    throw new TpmError(ofParameter(Rc.SIZE, places.data));
  const key = sensitive!.sensitive;
  // Filled up with zeros, a short last block shows its whole key stream, which the next vector has in it.
  const whole = new Uint8Array(Math.ceil(data.length / BLOCK) * BLOCK);
  whole.set(data);
  const out = engine.crypto.cipher(algorithm, mode, key, iv, whole, !decrypting);
  return { outData: out.slice(0, data.length), ivOut: nextVector(mode, iv, data, whole, out, decrypting) };
}

/** The vector with which the message may go on: of whole blocks, or after a short one as OpenSSL leaves it. */
function nextVector(
  mode: number,
  iv: Uint8Array,
  data: Uint8Array,
  whole: Uint8Array,
  out: Uint8Array,
  decrypting: boolean,
): Uint8Array {
  const next = Uint8Array.from(iv);
  if (whole.length === 0) return next;
  const last = whole.length - BLOCK;
  switch (mode) {
    case Alg.CTR:
      for (let carry = whole.length / BLOCK, i = BLOCK - 1; carry > 0 && i >= 0; i--) {
        carry += next[i]!;
        next[i] = carry & 0xff;
        carry >>>= 8;
      }
      return next;
    case Alg.CBC:
    case Alg.CFB:
      next.set(out.subarray(last));
      if (decrypting) next.set(data.subarray(last));
      return next;
    case Alg.OFB:
      for (let i = 0; i < BLOCK; i++) next[i] = whole[last + i]! ^ out[last + i]!;
      return next;
    default:
      return next;
  }
}

export const symmetricCommands = {
  EncryptDecrypt(engine, { handles: { keyHandle }, parameters }) {
    return encryptDecrypt(engine, {
      keyHandle,
      decrypting: parameters.decrypt,
      wantedMode: parameters.mode,
      iv: parameters.ivIn,
      data: parameters.inData,
      places: { mode: 2, iv: 3, data: 4 },
    });
  },

  EncryptDecrypt2(engine, { handles: { keyHandle }, parameters }) {
    return encryptDecrypt(engine, {
      keyHandle,
      decrypting: parameters.decrypt,
      wantedMode: parameters.mode,
      iv: parameters.ivIn,
      data: parameters.inData,
      places: { mode: 3, iv: 4, data: 1 },
    });
  },

  Hash(engine, { parameters: { data, hashAlg, hierarchy } }) {
    const outHash = engine.crypto.hash(hashAlg, data);
    const validation = beginsGenerated(data)
      ? nullTicket(ticketTag.hashCheck)
      : hashCheckTicket(engine, hierarchy, hashAlg, outHash);
    return { outHash, validation };
  },

  HMAC(engine, { handles: { handle }, parameters: { buffer, hashAlg } }) {
    const { kind, alg, key } = selectMac(engine, handle, hashAlg);
    const { crypto } = engine;
    return { outHMAC: kind === "hmac" ? crypto.hmac(alg, key, buffer) : crypto.cmac(alg, key, buffer) };
  },
} satisfies Handlers;
