// A processor that is made up: its keys, AMD's part in certifying them, its reports. So the examples need no hardware, on Node and in a page.
import { buildSnpReport, SNP_SIGNED_SIZE, snpSignatureFields } from "@entresol/evidence";

/** Evidence of a chip that nobody made. Its root is trusted where somebody says so, and nowhere else. */
export interface SampleChip {
  /** DER. The root stands for AMD's. */
  readonly ark: Uint8Array;
  readonly ask: Uint8Array;
  readonly vcek: Uint8Array;
  /** The root's list of revoked certificates, which is empty. */
  readonly crl: Uint8Array;
  /** A report that the chip's key signs, with these fields. */
  report(fields?: Partial<Parameters<typeof buildSnpReport>[0]>): Promise<Uint8Array>;
}

// ---- DER: ITU-T X.690 ----

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function der(tag: number, ...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const content = joined(parts);
  const { length } = content;
  const size =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return joined([Uint8Array.of(tag, ...size), content]);
}

const sequence = (...parts: readonly Uint8Array[]) => der(0x30, ...parts);
const octets = (bytes: Uint8Array) => der(0x04, bytes);
const bits = (bytes: Uint8Array, unused = 0) => der(0x03, Uint8Array.of(unused), bytes);
const explicit = (number: number, part: Uint8Array) => der(0xa0 | number, part);
/** 0 to 255. */
const integer = (value: number) => der(0x02, Uint8Array.from(value < 0x80 ? [value] : [0, value]));
const truth = () => der(0x01, Uint8Array.of(0xff));

function identifier(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const digits = (value: number): number[] =>
    value < 0x80 ? [value] : [...digits(value >> 7).map((digit) => digit | 0x80), value & 0x7f];
  return der(0x06, Uint8Array.from([first * 40 + second, ...rest.flatMap(digits)]));
}

/** The scalars of a signature that WebCrypto made, as certificates have them. */
function signatureValue(raw: Uint8Array): Uint8Array {
  const scalar = (bytes: Uint8Array): Uint8Array => {
    const digits = bytes.subarray(bytes.findIndex((byte) => byte !== 0));
    return der(0x02, (digits[0] ?? 0) < 0x80 ? digits : joined([Uint8Array.of(0), digits]));
  };
  return sequence(scalar(raw.subarray(0, raw.length / 2)), scalar(raw.subarray(raw.length / 2)));
}

// ---- certificates: RFC 5280 ----

const P384 = { name: "ECDSA", namedCurve: "P-384" } as const;
const ecdsaWithSha384 = sequence(identifier("1.2.840.10045.4.3.3"));
const name = (common: string) =>
  sequence(der(0x31, sequence(identifier("2.5.4.3"), der(0x0c, ascii(common)))));
/** UTCTime. */
const time = (year: number) => der(0x17, ascii(`${year % 100}0101000000Z`));

/** WebCrypto's key, by whatever name Node and browsers know it. */
type Key = Parameters<typeof crypto.subtle.sign>[1];

const sign = async (key: Key, data: Uint8Array<ArrayBuffer>): Promise<Uint8Array> =>
  new Uint8Array(await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-384" }, key, data));

async function signed(body: Uint8Array<ArrayBuffer>, key: Key): Promise<Uint8Array> {
  return sequence(body, ecdsaWithSha384, bits(signatureValue(await sign(key, body))));
}

interface Party {
  readonly name: string;
  readonly keys: { readonly publicKey: Key; readonly privateKey: Key };
}

const party = async (common: string): Promise<Party> => ({
  name: common,
  keys: await crypto.subtle.generateKey(P384, true, ["sign", "verify"]),
});

const extension = (id: string, value: Uint8Array, critical = false) =>
  sequence(identifier(id), ...(critical ? [truth()] : []), octets(value));
/** Basic constraints, and a key usage of signing certificates and lists. */
const authority = [
  extension("2.5.29.19", sequence(truth()), true),
  extension("2.5.29.15", bits(Uint8Array.of(0x06), 1), true),
];

async function certificate(subject: Party, issuer: Party, serial: number, extensions: readonly Uint8Array[]) {
  const spki = new Uint8Array(await crypto.subtle.exportKey("spki", subject.keys.publicKey));
  const body = sequence(
    explicit(0, integer(2)),
    integer(serial),
    ecdsaWithSha384,
    name(issuer.name),
    sequence(time(2025), time(2049)),
    name(subject.name),
    spki,
    explicit(3, sequence(...extensions)),
  );
  return signed(body, issuer.keys.privateKey);
}

// ---- the chip: AMD 57230 (VCEK extensions), 56860 (report) ----

const AMD = "1.3.6.1.4.1.3704.1";
const levels = { bootloader: 10, tee: 0, snp: 23, microcode: 84 };
const tcb = Uint8Array.of(levels.bootloader, levels.tee, 0, 0, 0, 0, levels.snp, levels.microcode);

/** A Genoa processor of which nobody has heard. */
export async function makeSampleChip(): Promise<SampleChip> {
  const [root, intermediate, chip] = await Promise.all(["ARK-Genoa", "SEV-Genoa", "SEV-VCEK"].map(party));
  if (root === undefined || intermediate === undefined || chip === undefined) throw new Error("no keys");
  const chipId = crypto.getRandomValues(new Uint8Array(64));
  const level = (number: number, value: number) => extension(`${AMD}.3.${number}`, integer(value));
  const list = sequence(
    integer(1),
    ecdsaWithSha384,
    name(root.name),
    time(2025),
    time(2049),
    explicit(0, sequence(extension("2.5.29.20", integer(1)))),
  );
  return {
    ark: await certificate(root, root, 1, authority),
    ask: await certificate(intermediate, root, 2, authority),
    vcek: await certificate(chip, intermediate, 0, [
      extension(`${AMD}.1`, integer(1)),
      extension(`${AMD}.2`, der(0x16, ascii("Genoa-B1"))),
      level(1, levels.bootloader),
      level(2, levels.tee),
      level(3, levels.snp),
      level(4, 0),
      level(8, levels.microcode),
      extension(`${AMD}.4`, chipId),
    ]),
    crl: await signed(list, root.keys.privateKey),
    async report(fields = {}) {
      const all = {
        version: 3,
        policy: 0x3_0000n,
        signatureAlgorithm: 1,
        currentTcb: tcb,
        reportedTcb: tcb,
        committedTcb: tcb,
        launchTcb: tcb,
        cpuidFamily: 0x19,
        cpuidModel: 0x11,
        cpuidStepping: 1,
        chipId,
        ...fields,
      };
      const body = new Uint8Array(buildSnpReport(all).subarray(0, SNP_SIGNED_SIZE));
      return buildSnpReport({ ...all, ...snpSignatureFields(await sign(chip.keys.privateKey, body)) });
    },
  };
}
