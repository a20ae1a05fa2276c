/** CreatePrimary of an RSA signing key in the owner hierarchy, as hexadecimal digits. `bits` above 2048 take long. */
export function createRsaPrimary(bits: number): string {
  const u16 = (value: number): string => value.toString(16).padStart(4, "0");
  // RSA, SHA-256, fixed, sign, no policy; no symmetric cipher, no scheme, exponent 65537, unique empty.
  const template = `0001000b000604720000${"0010"}${"0010"}${u16(bits)}000000000000`;
  const sensitive = "000400000000";
  const parameters = `${sensitive}${u16(template.length / 2)}${template}000000000000`;
  const body = `40000001${"00000009"}400000090000000000${parameters}`;
  return `8002${(10 + body.length / 2).toString(16).padStart(8, "0")}00000131${body}`;
}
