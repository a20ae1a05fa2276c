import { implementedCommands } from "@entresol/tpm";
import { commands } from "@entresol/tpm-types";
import { DEFAULT_PROFILE, type ProfileName, profiles } from "./profiles.ts";

/*
 * What GET_INFO tells (swtpm's "--print-info"): JSON by one bit per part, in the words of libtpms. swtpm_setup and certificate authorities read the
 * first three, those who watch over what a TPM may do the others. Nothing in a profile can be turned off.
 */

/** The smallest RSA key is told in bits. */
const smallestRsa = (name: ProfileName): number => (profiles[name].weakRsa ? 1024 : 2048);

const algorithms = (name: ProfileName): string =>
  [
    `rsa,rsa-min-size=${smallestRsa(name)},rsassa,rsaes,rsapss,oaep`,
    "sha1,sha256,sha384,sha512,hmac,hmac-min-key-size=1,keyedhash,xor,mgf1,null",
    ...(profiles[name].sha3 ? ["sha3-256,sha3-384,sha3-512"] : []),
    "ecc,ecc-min-size=192,ecc-nist,ecc-nist-p192,ecc-nist-p224,ecc-nist-p256,ecc-nist-p384,ecc-nist-p521,ecc-bn,ecc-bn-p256,ecc-sm2-p256",
    "ecdsa,ecdh,ecdaa,ecschnorr,ecmqv,kdf1-sp800-56a,kdf2,kdf1-sp800-108",
    "symcipher,aes,aes-min-size=128,camellia,camellia-min-size=128,cmac,ctr,ofb,cbc,cfb,ecb",
  ].join(",");

/** Codes as "0x11f-0x122,0x124". */
function ranges(codes: readonly number[]): string {
  const sorted = [...codes].sort((a, b) => a - b);
  const found: [first: number, last: number][] = [];
  for (const code of sorted) {
    const range = found.at(-1);
    if (range !== undefined && code === range[1] + 1) range[1] = code;
    else found.push([code, code]);
  }
  const hex = (code: number): string => `0x${code.toString(16)}`;
  return found.map(([first, last]) => (first === last ? hex(first) : `${hex(first)}-${hex(last)}`)).join(",");
}

function commandRanges(): string {
  return ranges(implementedCommands().map((name) => commands[name].code));
}

/** Implemented, and so enabled for good. */
function fixed(value: string): object {
  return { Implemented: value, CanBeDisabled: "", Enabled: value, Disabled: "" };
}

function profile(name: ProfileName): object {
  return {
    Name: name,
    StateFormatLevel: 1,
    Commands: commandRanges(),
    Algorithms: algorithms(name),
    Attributes: "",
    Description: name === "entresol" ? "All that this TPM implements." : "What libtpms implements.",
  };
}

const parts: readonly (readonly [flag: bigint, content: (name: ProfileName) => object])[] = [
  [1n, () => ({ TPMSpecification: { family: "2.0", level: 0, revision: 183 } })],
  [2n, () => ({ TPMAttributes: { manufacturer: "id:454E5452", version: "id:00010000", model: "Entresol" } })],
  [
    4n,
    (name) => ({
      TPMFeatures: {
        RSAKeySizes: [1024, 2048, 3072, 4096].filter((bits) => bits >= smallestRsa(name)),
        CamelliaKeySizes: [128, 192, 256],
      },
    }),
  ],
  [8n, (name) => ({ RuntimeAlgorithms: fixed(algorithms(name)) })],
  [16n, () => ({ RuntimeCommands: fixed(commandRanges()) })],
  [32n, (name) => ({ ActiveProfile: profile(name) })],
  [64n, () => ({ AvailableProfiles: (Object.keys(profiles) as ProfileName[]).map(profile) })],
  [128n, () => ({ RuntimeAttributes: fixed("") })],
];

/** Unknown bits are passed over. */
export function information(flags: bigint, name: ProfileName = DEFAULT_PROFILE): string {
  const chosen = parts.filter(([flag]) => (flags & flag) !== 0n).map(([, content]) => content(name));
  return JSON.stringify(Object.assign({}, ...chosen));
}
