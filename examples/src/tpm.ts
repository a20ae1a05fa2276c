// A TPM 2.0 in five lines: commands in, responses out.
import { Tpm } from "@entresol/tpm";

const tpm = new Tpm();
const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"));
tpm.execute(hex("8001 0000000c 00000144 0000")); // TPM2_Startup(CLEAR)
const random = tpm.execute(hex("8001 0000000c 0000017b 0010")); // TPM2_GetRandom(16)
console.log(Buffer.from(random.subarray(12)).toString("hex"));
