// Names that the compiler does not know by itself.
declare global {
  // AssemblyScript's integer types, so that tsc can read assembly/layout.ts.
  type usize = number;
  type u32 = number;

  // The part of the WebAssembly interface that is used here; the DOM library would bring far more than Node has.
  namespace WebAssembly {
    interface Module {
      readonly [Symbol.toStringTag]: "WebAssembly.Module";
    }
    interface Instance {
      readonly exports: Record<string, unknown>;
    }
    class Memory {
      constructor(descriptor: { initial: number; maximum?: number });
      readonly buffer: ArrayBuffer;
    }
    function compile(bytes: Uint8Array): Promise<Module>;
    function instantiate(module: Module, imports: Record<string, Record<string, unknown>>): Promise<Instance>;
  }
}

export {};
