import {
  Alg,
  type Attested,
  digestSizes,
  Max,
  ObjectAttribute,
  ofHandle,
  ofParameter,
  Rc,
  Rh,
  type Scheme,
  type Signature,
  St,
  TPM_GENERATED,
  TPMS_ATTEST,
  TpmError,
  TpmWriter,
} from "@entresol/tpm-types";
import { clockInfo, timeInfo } from "../clock.ts";
import type { Handlers } from "../command.ts";
import { auditedCommands } from "../command-audit.ts";
import { kdfa, noContext } from "../crypto/kdf.ts";
import { CONTEXT_HASH, type Engine, u32 } from "../engine.ts";
import { nvName } from "../entities.ts";
import { nvOf, readNv } from "../nv.ts";
import { hasAttributes, objectOf } from "../objects.ts";
import { pcrDigest } from "../pcr.ts";
import { sessionAt } from "../sessions.ts";
import { voidShutdown } from "../shutdown.ts";
import { isAnonymous, isSigningKey, selectScheme, sign, verify } from "../signatures.ts";
import type { StoredObject } from "../state.ts";
import { creationHolds, hashCheckHolds, verifiedTicket } from "../tickets.ts";

/* Signing, and attestation: structures of the TPM's own making that are signed so that nobody else can have made them (Part 3, 18 and 20). */

const empty: Uint8Array = new Uint8Array(0);

/** The key of a signing handle, undefined for the NULL handle. Throws TPM_RC_KEY for what cannot sign. */
function signerOf(engine: Engine, handle: number, position: number): StoredObject | undefined {
  if (handle === Rh.NULL) return undefined;
  const key = objectOf(engine, handle, ofHandle(Rc.KEY, position));
  if (!isSigningKey(key)) throw new TpmError(ofHandle(Rc.KEY, position));
  return key;
}

/** The scheme to sign with. Throws TPM_RC_SCHEME of the parameter at `position`. */
function schemeFor(key: StoredObject | undefined, asked: Scheme, position: number): Scheme {
  const scheme = selectScheme(key, asked);
  if (scheme === undefined) throw new TpmError(ofParameter(Rc.SCHEME, position));
  return scheme;
}

/** What is signed with, and what the caller wants to have in it. */
interface Signing {
  readonly key: StoredObject | undefined;
  readonly scheme: Scheme;
  readonly qualifyingData: Uint8Array;
}

/** What owners of other hierarchies must not learn is hidden by a number that depends on the signer (Part 1, 36.7). */
function obfuscation(engine: Engine, signer: Uint8Array): { wide: bigint; reset: number; restart: number } {
  const proof = engine.state.permanent.ownerProof;
  const bytes = kdfa(engine.crypto, CONTEXT_HASH, proof, "OBFUSCATE", signer, noContext, 128);
  const view = new DataView(bytes.buffer);
  return { wide: view.getBigUint64(0), reset: view.getUint32(8), restart: view.getUint32(12) };
}

/** Builds the attestation, signs it and gives both (Part 3, 18.1). */
function attest(
  engine: Engine,
  { key, scheme, qualifyingData }: Signing,
  attested: Attested,
): { readonly bytes: Uint8Array; readonly signature: Signature } {
  const { crypto, identity } = engine;
  const anonymous = isAnonymous(scheme.scheme);
  const qualifiedSigner = key === undefined ? u32(Rh.NULL) : anonymous ? empty : key.qualifiedName;
  const [version1, version2] = identity.firmwareVersion;
  let firmwareVersion = (BigInt(version1) << 32n) | BigInt(version2);
  let clock = clockInfo(engine);
  const hierarchy = key?.hierarchy ?? Rh.NULL;
  if (hierarchy !== Rh.ENDORSEMENT && hierarchy !== Rh.PLATFORM) {
    const { wide, reset, restart } = obfuscation(engine, qualifiedSigner);
    firmwareVersion = BigInt.asUintN(64, firmwareVersion + wide);
    clock = {
      ...clock,
      resetCount: (clock.resetCount + reset) >>> 0,
      restartCount: (clock.restartCount + restart) >>> 0,
    };
  }
  const writer = new TpmWriter(512);
  TPMS_ATTEST.write(writer, {
    magic: TPM_GENERATED,
    qualifiedSigner,
    extraData: anonymous ? empty : qualifyingData,
    clockInfo: clock,
    firmwareVersion,
    ...attested,
  });
  const bytes = writer.finish();
  if (key === undefined) return { bytes, signature: { sigAlg: Alg.NULL } };
  let digest = crypto.hash(scheme.hash, bytes);
  if (anonymous && qualifyingData.length > 0) digest = crypto.hash(scheme.hash, qualifyingData, digest);
  const signature = sign(engine, key, scheme, digest);
  // Somebody has it in writing what Clock was: a start-up may not go back to the time of a shutdown before.
  voidShutdown(engine);
  return { bytes, signature };
}

export const signingCommands = {
  Sign(engine, { handles, parameters }) {
    const key = objectOf(engine, handles.keyHandle, ofHandle(Rc.KEY, 1));
    if (!isSigningKey(key)) throw new TpmError(ofHandle(Rc.KEY, 1));
    if (hasAttributes(key.publicArea, ObjectAttribute.x509sign))
      throw new TpmError(ofHandle(Rc.ATTRIBUTES, 1));
    const scheme = schemeFor(key, parameters.inScheme, 2);
    const { digest, validation } = parameters;
    const isRestricted = hasAttributes(key.publicArea, ObjectAttribute.restricted);
    if (validation.digest.length > 0 || isRestricted) {
      // A restricted key signs only what the TPM has hashed itself, and found not to look like an attestation.
      if (!hashCheckHolds(engine, validation, scheme.hash, digest))
        throw new TpmError(ofParameter(Rc.TICKET, 3));
    } else if (digest.length !== digestSizes.get(scheme.hash)) {
      throw new TpmError(ofParameter(Rc.SIZE, 1));
    }
    return { signature: sign(engine, key, scheme, digest) };
  },

  VerifySignature(engine, { handles, parameters }) {
    const key = objectOf(engine, handles.keyHandle, ofHandle(Rc.HANDLE, 1));
    if (!hasAttributes(key.publicArea, ObjectAttribute.sign)) throw new TpmError(ofHandle(Rc.ATTRIBUTES, 1));
    const { digest, signature } = parameters;
    let holds: boolean;
    try {
      holds = verify(engine, key, signature, digest);
    } catch (error) {
      if (!(error instanceof TpmError)) throw error;
      // Of the signature in each case: the reference says so of a key without its secret as well.
      throw new TpmError(ofParameter(error.rc, 2));
    }
    if (!holds) throw new TpmError(ofParameter(Rc.SIGNATURE, 2));
    const hierarchy = key.publicArea.nameAlg === Alg.NULL ? Rh.NULL : key.hierarchy;
    return { validation: verifiedTicket(engine, hierarchy, digest, key.name) };
  },
} satisfies Handlers;

export const attestationCommands = {
  Certify(engine, { handles, parameters }) {
    const key = signerOf(engine, handles.signHandle, 2);
    const scheme = schemeFor(key, parameters.inScheme, 2);
    const object = objectOf(engine, handles.objectHandle, ofHandle(Rc.HANDLE, 1));
    const signing = { key, scheme, qualifyingData: parameters.qualifyingData };
    const { bytes, signature } = attest(engine, signing, {
      type: St.ATTEST_CERTIFY,
      attested: {
        name: object.name,
        // Where it stands in a hierarchy would tell of which TPM it is.
        qualifiedName: isAnonymous(scheme.scheme) ? empty : object.qualifiedName,
      },
    });
    return { certifyInfo: bytes, signature };
  },

  CertifyCreation(engine, { handles, parameters }) {
    const key = signerOf(engine, handles.signHandle, 1);
    const scheme = schemeFor(key, parameters.inScheme, 3);
    const object = objectOf(engine, handles.objectHandle, ofHandle(Rc.HANDLE, 2));
    const { creationHash } = parameters;
    if (!creationHolds(engine, parameters.creationTicket, object.name, creationHash))
      throw new TpmError(ofParameter(Rc.TICKET, 4));
    const signing = { key, scheme, qualifyingData: parameters.qualifyingData };
    const { bytes, signature } = attest(engine, signing, {
      type: St.ATTEST_CREATION,
      attested: { objectName: object.name, creationHash },
    });
    return { certifyInfo: bytes, signature };
  },

  Quote(engine, { handles, parameters }) {
    const key = signerOf(engine, handles.signHandle, 1);
    const scheme = schemeFor(key, parameters.inScheme, 2);
    // Without a key there is no scheme, and no hash to digest the PCR by (Part 3, 18.4).
    if (!digestSizes.has(scheme.hash)) throw new TpmError(ofParameter(Rc.SCHEME, 2));
    const { digest, selections } = pcrDigest(engine, scheme.hash, parameters.PCRselect);
    const signing = { key, scheme, qualifyingData: parameters.qualifyingData };
    const { bytes, signature } = attest(engine, signing, {
      type: St.ATTEST_QUOTE,
      attested: { pcrSelect: selections, pcrDigest: digest },
    });
    return { quoted: bytes, signature };
  },

  GetTime(engine, { handles, parameters }) {
    const key = signerOf(engine, handles.signHandle, 2);
    const scheme = schemeFor(key, parameters.inScheme, 2);
    const [version1, version2] = engine.identity.firmwareVersion;
    const signing = { key, scheme, qualifyingData: parameters.qualifyingData };
    const { bytes, signature } = attest(engine, signing, {
      type: St.ATTEST_TIME,
      attested: {
        time: timeInfo(engine),
        firmwareVersion: (BigInt(version1) << 32n) | BigInt(version2),
      },
    });
    return { timeInfo: bytes, signature };
  },

  GetSessionAuditDigest(engine, { handles, parameters }) {
    const key = signerOf(engine, handles.signHandle, 2);
    const scheme = schemeFor(key, parameters.inScheme, 2);
    const session = sessionAt(engine, handles.sessionHandle);
    if (session?.audit !== true) throw new TpmError(ofHandle(Rc.TYPE, 3));
    const signing = { key, scheme, qualifyingData: parameters.qualifyingData };
    const { bytes, signature } = attest(engine, signing, {
      type: St.ATTEST_SESSION_AUDIT,
      attested: {
        exclusiveSession: engine.state.volatile.exclusiveSession === session.handle,
        sessionDigest: session.auditDigest,
      },
    });
    return { auditInfo: bytes, signature };
  },

  GetCommandAuditDigest(engine, { handles, parameters }) {
    const { permanent, reset } = engine.state;
    const key = signerOf(engine, handles.signHandle, 2);
    const scheme = schemeFor(key, parameters.inScheme, 2);
    const codes = new TpmWriter();
    for (const code of [...auditedCommands(engine)].sort((a, b) => a - b)) codes.u32(code);
    const signing = { key, scheme, qualifyingData: parameters.qualifyingData };
    const { bytes, signature } = attest(engine, signing, {
      type: St.ATTEST_COMMAND_AUDIT,
      attested: {
        auditCounter: permanent.auditCounter,
        digestAlg: permanent.auditHash,
        auditDigest: reset.commandAuditDigest,
        commandDigest: engine.crypto.hash(permanent.auditHash, codes.finish()),
      },
    });
    // Signed and so known to be kept by somebody: a new digest begins (Part 3, 18.6).
    if (key !== undefined) reset.commandAuditDigest = empty;
    return { auditInfo: bytes, signature };
  },

  NV_Certify(engine, { handles, parameters }) {
    const key = signerOf(engine, handles.signHandle, 1);
    const scheme = schemeFor(key, parameters.inScheme, 2);
    const { size, offset, qualifyingData } = parameters;
    const index = nvOf(engine, handles.nvIndex);
    const indexName = nvName(engine, index);
    const signing = { key, scheme, qualifyingData };
    const nvContents = readNv(engine, handles.authHandle, handles.nvIndex, offset, size);
    if (size > Max.NV_BUFFER) throw new TpmError(ofParameter(Rc.VALUE, 3));
    if (size === 0 && offset === 0) {
      // The digest of the whole content, however large (1.59). Without a key there is no hash, and no digest.
      const nvDigest = digestSizes.has(scheme.hash) ? engine.crypto.hash(scheme.hash, index.data) : empty;
      const { bytes, signature } = attest(engine, signing, {
        type: St.ATTEST_NV_DIGEST,
        attested: { indexName, nvDigest },
      });
      return { certifyInfo: bytes, signature };
    }
    const { bytes, signature } = attest(engine, signing, {
      type: St.ATTEST_NV,
      attested: { indexName, offset, nvContents },
    });
    return { certifyInfo: bytes, signature };
  },
} satisfies Handlers;
