/** Legacy prefixes; that for the operand size twice, since it is drawn from this list. */
export const PREFIXES = [0x66, 0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65];

/** Bytes that isExcluded wants to see. */
export const DECODED_BYTES = 24;

/** Whether explained.ts excludes the first instruction of `code`. */
export function isExcluded(code: Uint8Array, bits: 64 | 32 | 16): boolean {
  const wide = bits === 64;
  let at = 0;
  let size = false;
  let repeat = 0;
  let lock = false;
  for (; at < DECODED_BYTES - 4; at++) {
    const byte = code[at] as number;
    if (byte === 0x66) size = true;
    else if (byte === 0xf2 || byte === 0xf3) repeat = byte;
    else if (byte === 0xf0) lock = true;
    else if (!PREFIXES.includes(byte)) break;
  }
  // A REX prefix in front of another prefix is ignored, but the loop would stop: such code is left out.
  if (wide && ((code[at] as number) & 0xf0) === 0x40) {
    at++;
    const next = code[at] as number;
    if (PREFIXES.includes(next) || (next & 0xf0) === 0x40) return true;
  }
  const opcode = code[at] as number;
  const modrm = code[at + 1] as number;
  const memory = modrm < 0xc0;
  const reg = (modrm >> 3) & 7;
  if (opcode === 0x0f) return isExcluded0F(modrm, code[at + 2] as number, size, repeat, lock, bits);
  switch (opcode) {
    case 0x62: // EVEX, outside 64-bit code BOUND when the next byte is a memory ModRM
    case 0xc4: // VEX, else LES
    case 0xc5: // VEX, else LDS
      return wide || !memory;
    case 0xcd:
      return modrm === 0x80;
    case 0x63: // MOVSXD with an operand-size prefix
      return wide && size;
    case 0xf1:
    case 0x9d: // POPF and IRET may set AC and clear TF
    case 0xcf:
      return true;
    case 0xd9:
      return memory
        ? reg === 6
        : (modrm >= 0xf0 && modrm <= 0xf3) || modrm === 0xf9 || modrm === 0xfb || modrm >= 0xfe;
    case 0xdb:
    case 0xdf:
      return memory && reg === 1; // FISTTP
    case 0xdd:
      return memory && (reg === 1 || reg === 6);
    case 0xca: // RETF with a count: the order of its faults
      return true;
    case 0xe0:
    case 0xe1:
      return repeat !== 0 || (wide && size);
    case 0xe8:
    case 0xe9:
    case 0xeb:
    case 0xc2:
    case 0xc3:
    case 0xe2:
    case 0xe3:
      return wide && size;
    case 0xff:
      return wide && ((size && (reg === 2 || reg === 4)) || (memory && (reg === 3 || reg === 5)));
    case 0x8f:
      return !memory || reg !== 0; // XOP
    default:
      return wide && size && opcode >= 0x70 && opcode <= 0x7f;
  }
}

function isExcluded0F(
  opcode: number,
  modrm: number,
  size: boolean,
  repeat: number,
  lock: boolean,
  bits: 64 | 32 | 16,
): boolean {
  const memory = modrm < 0xc0;
  const reg = (modrm >> 3) & 7;
  const f2 = repeat === 0xf2;
  const f3 = repeat === 0xf3;
  if (opcode >= 0x80 && opcode <= 0x8f) return size && bits === 64;
  if (opcode >= 0x20 && opcode <= 0x23) return lock; // AMD: LOCK MOV CR0 is CR8
  switch (opcode) {
    case 0x00:
      return reg < 2 || reg > 5 || lock;
    case 0x01:
      return !memory || reg === 0 || reg === 1 || reg === 4 || reg === 5;
    case 0x02: // LAR: bits 16 to 19
    case 0x03: // LSL of 0x78 gives the number of the CPU
    case 0x05:
    case 0x31:
    case 0x33:
    case 0x34:
    case 0x35:
    case 0x38:
    case 0x3a:
    case 0x52:
    case 0x53:
    case 0xa2:
    case 0xf7:
    case 0x0f:
    case 0x0e:
      return true;
    case 0xa4:
    case 0xa5:
    case 0xac:
    case 0xad: // 16 bits
      return size !== (bits === 16);
    case 0xb2:
    case 0xb4:
    case 0xb5:
      return true;
    case 0x12:
      return f2 || f3;
    case 0x16:
      return f3;
    case 0x2b:
      return f2 || f3; // SSE4a
    case 0x78:
    case 0x79:
      return true; // SSE4a, VMREAD
    case 0x7c:
    case 0x7d:
    case 0xd0:
      return f2 || size;
    case 0xf0:
      return f2;
    case 0x1e:
      return f3; // RDSSP
    case 0xae:
      return !(memory && !size && repeat === 0 && (reg === 2 || reg === 3 || reg === 7));
    case 0xbc:
    case 0xbd:
      return f3; // TZCNT, LZCNT
    case 0xc7:
      return reg !== 1;
    default:
      return false;
  }
}
