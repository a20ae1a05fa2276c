/* Keccak-f[1600] (FIPS 202, 3.2 and 3.3). A lane of 64 bits is two words of 32, the lower one first. */

const LANES = 25;
export const KECCAK_STATE_WORDS = 2 * LANES;
const ROUNDS = 24;

/** Round constants, from the shift register of 3.2.5. */
const iota = ((): Int32Array => {
  const words = new Int32Array(2 * ROUNDS);
  let register = 1;
  for (let round = 0; round < ROUNDS; round++) {
    for (let j = 0; j <= 6; j++) {
      const bit = 2 ** j - 1;
      if ((register & 1) !== 0) words[2 * round + (bit >>> 5)]! ^= 1 << (bit & 31);
      register = (register << 1) ^ ((register >>> 7) * 0x171);
    }
  }
  return words;
})();

/** For every lane: by how much rho rotates it, and where pi puts it (3.2.2, 3.2.3). */
const { rotations, targets } = ((): { rotations: Uint8Array; targets: Uint8Array } => {
  const rotations = new Uint8Array(LANES);
  const targets = new Uint8Array(LANES);
  let [x, y] = [1, 0];
  for (let t = 0; t < 24; t++) {
    rotations[x + 5 * y] = (((t + 1) * (t + 2)) / 2) % 64;
    [x, y] = [y, (2 * x + 3 * y) % 5];
  }
  for (let lane = 0; lane < LANES; lane++) {
    const [column, row] = [lane % 5, (lane / 5) | 0];
    targets[lane] = row + 5 * ((2 * column + 3 * row) % 5);
  }
  return { rotations, targets };
})();

const columns = new Int32Array(10);
const moved = new Int32Array(KECCAK_STATE_WORDS);

function permute(state: Int32Array): void {
  for (let round = 0; round < ROUNDS; round++) {
    // Theta.
    for (let x = 0; x < 10; x++)
      columns[x] = state[x]! ^ state[x + 10]! ^ state[x + 20]! ^ state[x + 30]! ^ state[x + 40]!;
    for (let x = 0; x < 5; x++) {
      const before = 2 * ((x + 4) % 5);
      const after = 2 * ((x + 1) % 5);
      const low = columns[before]! ^ ((columns[after]! << 1) | (columns[after + 1]! >>> 31));
      const high = columns[before + 1]! ^ ((columns[after + 1]! << 1) | (columns[after]! >>> 31));
      for (let at = 2 * x; at < KECCAK_STATE_WORDS; at += 10) {
        state[at]! ^= low;
        state[at + 1]! ^= high;
      }
    }
    // Rho and pi.
    for (let lane = 0; lane < LANES; lane++) {
      const by = rotations[lane]! & 31;
      // A rotation by 32 or more exchanges the halves first.
      const swap = rotations[lane]! >>> 5;
      const low = state[2 * lane + swap]!;
      const high = state[2 * lane + 1 - swap]!;
      const target = 2 * targets[lane]!;
      moved[target] = by === 0 ? low : (low << by) | (high >>> (32 - by));
      moved[target + 1] = by === 0 ? high : (high << by) | (low >>> (32 - by));
    }
    // Chi.
    for (let row = 0; row < KECCAK_STATE_WORDS; row += 10)
      for (let x = 0; x < 10; x++)
        state[row + x] = moved[row + x]! ^ (~moved[row + ((x + 2) % 10)]! & moved[row + ((x + 4) % 10)]!);
    state[0]! ^= iota[2 * round]!;
    state[1]! ^= iota[2 * round + 1]!;
  }
}

/** Takes a block of `rate` bytes into the sponge. */
export function absorbKeccak(state: Int32Array, bytes: Uint8Array, offset: number, rate: number): void {
  for (let at = 0; at < rate; at += 4) {
    const from = offset + at;
    state[at >>> 2]! ^=
      bytes[from]! | (bytes[from + 1]! << 8) | (bytes[from + 2]! << 16) | (bytes[from + 3]! << 24);
  }
  permute(state);
}
