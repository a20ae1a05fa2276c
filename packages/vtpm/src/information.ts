/*
 * What GET_INFO tells (swtpm's "--print-info"): JSON by one bit per part. swtpm_setup and certificate authorities read it.
 */
const parts: readonly (readonly [flag: bigint, content: Readonly<Record<string, unknown>>])[] = [
  [1n, { TPMSpecification: { family: "2.0", level: 0, revision: 183 } }],
  [2n, { TPMAttributes: { manufacturer: "id:454E5452", version: "id:00010000", model: "Entresol" } }],
  [4n, { TPMFeatures: { RSAKeySizes: [2048, 3072, 4096], CamelliaKeySizes: [128, 192, 256] } }],
];

/** Unknown bits are passed over. */
export function information(flags: bigint): string {
  const chosen = parts.filter(([flag]) => (flags & flag) !== 0n).map(([, content]) => content);
  return JSON.stringify(Object.assign({}, ...chosen));
}
