/* RSAES-PKCS1-v1_5 (RFC 8017, 7.2), which `node:crypto` refuses to take off. */

/** Of the three bytes and the eight that the padding has at least. */
const OVERHEAD = 11;

/** A block of `size` bytes; undefined when the message is too long for it. */
export function padRsaes(
  random: (length: number) => Uint8Array,
  message: Uint8Array,
  size: number,
): Uint8Array | undefined {
  if (message.length > size - OVERHEAD) return undefined;
  const block = new Uint8Array(size);
  const end = size - message.length - 1;
  block[1] = 2;
  const padding = block.subarray(2, end);
  padding.set(random(padding.length));
  for (let i = 0; i < padding.length; i++) while (padding[i] === 0) padding[i] = random(1)[0]!;
  block.set(message, end + 1);
  return block;
}

/**
 * Takes `padRsaes` back. Undefined for a block that was not made so. Where the padding is wrong must not be told by time (Bleichenbacher's attack):
 * the search goes through the whole block without a branch on its bytes.
 */
export function unpadRsaes(block: Uint8Array): Uint8Array | undefined {
  if (block.length < OVERHEAD) return undefined;
  let bad = block[0]! | (block[1]! ^ 2);
  let searching = 1;
  let start = 0;
  for (let i = 2; i < block.length; i++) {
    const byte = block[i]!;
    const zero = (((byte | -byte) >>> 31) & 1) ^ 1;
    const found = searching & zero;
    start |= -found & (i + 1);
    searching &= found ^ 1;
  }
  bad |= searching;
  // Fewer than eight bytes of padding: the sign of the difference.
  bad |= (start - OVERHEAD) >>> 31;
  return bad === 0 ? block.slice(start) : undefined;
}
