// Calls out of the module. The host implements them; none of them may re-enter the module except to read and write its memory.

/** Unwinds to the host, which calls `resolveFault`. Never returns. */
@external("env", "raise") export declare function raise(): void;
@external("env", "portIn") export declare function portIn(port: u32, width: u32): u32;
@external("env", "portOut") export declare function portOut(port: u32, width: u32, value: u32): void;
/** `at` is the guest physical address (exact: below 2^52); width 1, 2 or 4. */
@external("env", "mmioRead") export declare function mmioRead(at: f64, width: u32): u32;
@external("env", "mmioWrite") export declare function mmioWrite(at: f64, width: u32, value: u32): void;
/** Leaves EAX EBX ECX EDX at SCRATCH. */
@external("env", "cpuid") export declare function cpuid(leaf: u32, subleaf: u32): void;
/** 1 = done, value at SCRATCH; 0 = the guest gets #GP. */
@external("env", "readMsr") export declare function readMsr(msr: u32): u32;
@external("env", "writeMsr") export declare function writeMsr(msr: u32, low: u32, high: u32): u32;
/** CR8: the task priority, 0 to 15, of the running vCPU's local APIC. */
@external("env", "readTaskPriority") export declare function readTaskPriority(): u32;
@external("env", "writeTaskPriority") export declare function writeTaskPriority(value: u32): void;
/** VMCALL (0) or VMMCALL (1): 1 = handled, 0 = the guest gets #UD. Registers are in the context page. */
@external("env", "hypercall") export declare function hypercall(kind: u32): u32;
/** Puts 8 random bytes at SCRATCH (RDRAND, RDSEED). */
@external("env", "random") export declare function random(): void;
