import {
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  sign,
  verify,
  X509Certificate,
} from "node:crypto";
import {
  closeSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { EntresolError } from "@entresol/wire";
import { type Issuer, issueAuthority, signingAlgorithm } from "./certificates.ts";

export type CertificateAuthorityCode =
  /** A file of the authority is missing, or the folder holds something else. */
  | "incomplete"
  /** A file is no key or certificate. */
  | "malformed"
  /** Others may read or change the key: what it signed proves nothing. */
  | "exposed-key"
  /** The certificate is of another key. */
  | "key-mismatch"
  /** A certificate is not of an authority, or is not valid now. */
  | "not-an-authority"
  /** The root did not sign the authority's certificate, or not its own. */
  | "not-issued-by-root";

export class CertificateAuthorityError extends EntresolError<CertificateAuthorityCode> {
  override readonly name = "CertificateAuthorityError";
}

/** The names that swtpm_localca has for them, so that a folder can be used by both. */
const files = {
  key: "signkey.pem",
  certificate: "issuercert.pem",
  rootKey: "swtpm-localca-rootca-privkey.pem",
  rootCertificate: "swtpm-localca-rootca-cert.pem",
} as const;

const KEY_MODE = 0o600;
const CERTIFICATE_MODE = 0o644;
const FOLDER_MODE = 0o700;
/** Larger files are no keys and no certificates. */
const LARGEST = 64 * 1024;

export type AuthorityKeyKind = "p384" | "rsa3072";

const makePair = promisify(generateKeyPair);

async function makeKey(kind: AuthorityKeyKind): Promise<KeyObject> {
  const { privateKey } =
    kind === "p384"
      ? await makePair("ec", { namedCurve: "secp384r1" })
      : await makePair("rsa", { modulusLength: 3072 });
  return privateKey;
}

function pemOf(der: Uint8Array): string {
  return new X509Certificate(der).toString();
}

/** A local authority: a root, and an intermediate one that signs. */
export class CertificateAuthority {
  readonly issuer: Issuer & { readonly certificate: X509Certificate };
  readonly root: X509Certificate;

  private constructor(issuer: CertificateAuthority["issuer"], root: X509Certificate) {
    this.issuer = issuer;
    this.root = root;
  }

  /** DER of the certificates between a leaf and its verifier: of the issuer, then of the root. */
  get chain(): readonly Uint8Array[] {
    return [new Uint8Array(this.issuer.certificate.raw), new Uint8Array(this.root.raw)];
  }

  /**
   * Opens the authority in `folder`, or makes one when the folder is new or empty. A new one appears whole or not at all, and of several that
   * are made at once the first stays. Throws `CertificateAuthorityError` and what the system throws.
   */
  static async open(folder: string, kind: AuthorityKeyKind = "p384"): Promise<CertificateAuthority> {
    const path = resolve(folder);
    if (!isThere(join(path, files.key)) && !isThere(join(path, files.certificate))) await make(path, kind);
    return CertificateAuthority.#read(path);
  }

  static #read(folder: string): CertificateAuthority {
    const keyPath = join(folder, files.key);
    checkFolder(folder);
    checkKeyFile(keyPath);
    // Who has the root's key makes authorities of his own.
    checkKeyFile(join(folder, files.rootKey));
    const privateKey = readPrivateKey(keyPath);
    const certificate = readCertificate(join(folder, files.certificate));
    const root = readCertificate(join(folder, files.rootCertificate));
    try {
      const fault = faultOf(privateKey, certificate, root);
      if (fault !== undefined) throw new CertificateAuthorityError(fault.code, `${folder}: ${fault.what}`);
    } catch (error) {
      if (error instanceof CertificateAuthorityError) throw error;
      // OpenSSL reads a certificate before it looks at the key in it.
      throw new CertificateAuthorityError("malformed", `${folder}: a certificate has a key that is none`, {
        cause: error,
      });
    }
    return new CertificateAuthority({ privateKey, certificate }, root);
  }
}

interface Fault {
  readonly code: CertificateAuthorityCode;
  readonly what: string;
}

/** What is wrong with an authority. Throws what OpenSSL does for keys that it cannot use. */
function faultOf(key: KeyObject, certificate: X509Certificate, root: X509Certificate): Fault | undefined {
  if (signingAlgorithm(key) === undefined)
    return {
      code: "malformed",
      what: `${files.key} is no RSA key of 2048 bits or more and no key on P-256, P-384 or P-521`,
    };
  // A key file has both halves, and only the public one is compared by name: what it signs tells about the other.
  const probe = Buffer.from(files.key);
  if (
    !certificate.checkPrivateKey(key) ||
    !verify("sha256", probe, certificate.publicKey, sign("sha256", probe, key))
  )
    return { code: "key-mismatch", what: `${files.certificate} is not of the key in ${files.key}` };
  const now = Date.now();
  for (const [name, each] of [
    [files.certificate, certificate],
    [files.rootCertificate, root],
  ] as const) {
    if (!each.ca)
      return { code: "not-an-authority", what: `${name} does not allow its key to sign certificates` };
    // So written that a date that is none is not in time either.
    if (!(Date.parse(each.validFrom) <= now && now <= Date.parse(each.validTo)))
      return {
        code: "not-an-authority",
        what: `${name} is valid from ${each.validFrom} to ${each.validTo} only`,
      };
  }
  if (!root.checkIssued(root) || !root.verify(root.publicKey))
    return { code: "not-issued-by-root", what: `${files.rootCertificate} is not signed by its own key` };
  if (!certificate.checkIssued(root) || !certificate.verify(root.publicKey))
    return {
      code: "not-issued-by-root",
      what: `${files.certificate} is not signed by ${files.rootCertificate}`,
    };
  return undefined;
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

function readFile(path: string): Buffer {
  const status = lstatSync(path, { throwIfNoEntry: false });
  if (status === undefined)
    throw new CertificateAuthorityError(
      "incomplete",
      `${path}: this file of the certificate authority is missing`,
    );
  if (!status.isFile() || status.size > LARGEST)
    throw new CertificateAuthorityError("malformed", `${path} is no key or certificate file`);
  return readFileSync(path);
}

/** Who can write to the folder can put an authority of his own there, whatever the files' modes. */
function checkFolder(path: string): void {
  const status = statSync(path, { throwIfNoEntry: false });
  if (status === undefined || (status.mode & 0o022) === 0) return;
  throw new CertificateAuthorityError(
    "exposed-key",
    `${path} can be changed by others (mode 0${(status.mode & 0o777).toString(8)}): make it 0700`,
  );
}

/** Who can read the key can certify any TPM; who can write it can put his own there. A group may read it, as swtpm's `tss` does. */
function checkKeyFile(path: string): void {
  const status = lstatSync(path, { throwIfNoEntry: false });
  if (status === undefined || (status.mode & 0o037) === 0) return;
  throw new CertificateAuthorityError(
    "exposed-key",
    `${path} can be read or changed by others (mode 0${(status.mode & 0o777).toString(8)}): make it 0600`,
  );
}

function readPrivateKey(path: string): KeyObject {
  try {
    return createPrivateKey(readFile(path));
  } catch (error) {
    if (error instanceof EntresolError) throw error;
    throw new CertificateAuthorityError("malformed", `${path} holds no private key that is not encrypted`, {
      cause: error,
    });
  }
}

function readCertificate(path: string): X509Certificate {
  try {
    return new X509Certificate(readFile(path));
  } catch (error) {
    if (error instanceof EntresolError) throw error;
    throw new CertificateAuthorityError("malformed", `${path} holds no certificate`, { cause: error });
  }
}

function writeDurably(path: string, mode: number, content: string): void {
  const file = openSync(path, "wx", mode);
  try {
    writeSync(file, content);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function syncFolder(path: string): void {
  const folder = openSync(path, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

const occupied = new Set(["ENOTEMPTY", "EEXIST", "ENOTDIR", "EBUSY"]);

/** Makes the authority beside its place and moves it there in one step, which works only where nothing is, or an empty folder. */
async function make(folder: string, kind: AuthorityKeyKind): Promise<void> {
  const parent = dirname(folder);
  mkdirSync(parent, { recursive: true, mode: FOLDER_MODE });
  const [rootKey, key] = await Promise.all([makeKey(kind), makeKey(kind)]);
  const rootIssuer = { privateKey: rootKey, certificate: undefined };
  const root = await issueAuthority(rootIssuer, "entresol-vtpm local root CA", createPublicKey(rootKey));
  const issuer = { privateKey: rootKey, certificate: new X509Certificate(root) };
  const certificate = await issueAuthority(issuer, "entresol-vtpm local CA", createPublicKey(key));
  const privatePem = (each: KeyObject): string => each.export({ type: "pkcs8", format: "pem" }).toString();
  const made = mkdtempSync(join(parent, `.${basename(folder)}-`));
  try {
    writeDurably(join(made, files.rootKey), KEY_MODE, privatePem(rootKey));
    writeDurably(join(made, files.rootCertificate), CERTIFICATE_MODE, pemOf(root));
    writeDurably(join(made, files.key), KEY_MODE, privatePem(key));
    writeDurably(join(made, files.certificate), CERTIFICATE_MODE, pemOf(certificate));
    syncFolder(made);
    renameSync(made, folder);
    syncFolder(parent);
  } catch (error) {
    rmSync(made, { recursive: true, force: true });
    if (!occupied.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
    // Somebody was faster, or something else is there: what is read next tells.
    if (!isThere(join(folder, files.key)))
      throw new CertificateAuthorityError(
        "incomplete",
        `${folder} holds something else: a new certificate authority needs a folder that is new or empty`,
      );
  }
}
