import { maskedOutcome } from "./compare.ts";
import { encodeCorpus, type RecordedCase } from "./corpus.ts";
import { FORMS } from "./generate.ts";
import { Native } from "./native.ts";
import { R_SELECTORS, R_SIZE } from "./record.ts";
import { generatorFor, nativeSource } from "./session.ts";

/** Cases kept of each instruction form in each width of code, as single instructions; and sequences in all. */
const PER_FORM = 2;
const SEQUENCES = 600;
const BATCH = 4096;
const BATCHES = 40;

export interface RecordedCorpus {
  readonly bytes: Uint8Array;
  readonly cases: number;
  readonly forms: number;
  readonly vendor: string;
}

/** Generates cases until each form has its share, and packs them with what the processor of this machine did. */
export async function recordCorpus(seed: number): Promise<RecordedCorpus> {
  const native = await Native.start(nativeSource(), BATCH);
  try {
    const generator = generatorFor(native, seed, {});
    const kept = new Map<string, number>();
    const forms = new Set<number>();
    let sequences = 0;
    const cases: RecordedCase[] = [];
    for (let batch = 0; batch < BATCHES; batch++) {
      const records = new Uint8Array(BATCH * R_SIZE);
      const view = (i: number) => new DataView(records.buffer, i * R_SIZE, R_SIZE);
      const chosen: number[] = [];
      for (let i = 0; i < BATCH; i++) {
        generator.generate(batch * BATCH + i, view(i));
        if (generator.forms.length === 1) {
          const form = FORMS.indexOf(generator.forms[0] as (typeof FORMS)[number]);
          forms.add(form);
          const key = `${form} ${view(i).getUint16(R_SELECTORS + 2, true)}`;
          const have = kept.get(key) ?? 0;
          if (have >= PER_FORM) continue;
          kept.set(key, have + 1);
          chosen.push(i);
        } else if (sequences < SEQUENCES) {
          sequences++;
          chosen.push(i);
        }
      }
      const inputs = chosen.map((i) => new DataView(records.slice(i * R_SIZE, (i + 1) * R_SIZE).buffer));
      await native.run(records, BATCH);
      for (const [k, i] of chosen.entries()) {
        const input = inputs[k] as DataView;
        cases.push({ seed, index: batch * BATCH + i, input, outcome: maskedOutcome(input, view(i)) });
      }
    }
    return {
      bytes: encodeCorpus({ vendor: native.vendor, cases }),
      cases: cases.length,
      forms: forms.size,
      vendor: native.vendor,
    };
  } finally {
    native.close();
  }
}
