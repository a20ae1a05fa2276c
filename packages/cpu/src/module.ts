import { readFile } from "node:fs/promises";

/** The functions that the wasm module exports; see assembly/index.ts. */
export interface ProcessorModule {
  run(): number;
  resolveFault(): void;
  interrupt(vector: number): void;
  nonMaskableInterrupt(): void;
  canInterrupt(): number;
  canNonMaskable(): number;
  codeWritten(physical: number, length: number): void;
  getFlags(): bigint;
  setFlags(flags: bigint): void;
  adoptContext(): void;
  forgetAll(): void;
  resetContext(kind: number): void;
  startup(vector: number): void;
  applyRegisters(): void;
}

let compiled: Promise<WebAssembly.Module> | undefined;

/** build/cpu.wasm lies beside src/ (tests run the sources) and one level above dist/src/. */
async function compile(): Promise<WebAssembly.Module> {
  const places = [
    new URL("../build/cpu.wasm", import.meta.url),
    new URL("../../build/cpu.wasm", import.meta.url),
  ];
  let missing: unknown;
  for (const place of places) {
    try {
      return await WebAssembly.compile(await readFile(place));
    } catch (error) {
      missing = error;
    }
  }
  throw new Error("The processor is not built: run `npm run build -w @entresol/cpu`.", { cause: missing });
}

/** Instantiates the processor's module on `memory`. Compiled once per process. */
export async function instantiate(
  memory: WebAssembly.Memory,
  imports: Record<string, (...values: number[]) => number | undefined>,
): Promise<ProcessorModule> {
  compiled ??= compile();
  const instance = await WebAssembly.instantiate(await compiled, {
    env: { memory, abort: () => undefined, ...imports },
  });
  return instance.exports as unknown as ProcessorModule;
}
