/** Where an x86 processor starts: 16 bytes before the end of the firmware image, which ends at 4 GiB. */
const resetVector = 0xfff0;

/** CLI; HLT; JMP to the HLT: a processor that an NMI wakes goes back to sleep. */
const park = [0xfa, 0xf4, 0xeb, 0xfd];

/**
 * A firmware image of 64 KiB whose processor sleeps with interrupts off, so that only the test touches the devices. The rest is
 * HLT as well.
 */
export function parkImage(): Uint8Array {
  const image = new Uint8Array(0x1_0000).fill(0xf4);
  image.set(park, resetVector);
  return image;
}
