/** What a TPM is between two commands, sealed as `TpmHost.getState` gives it. Fields that are not there are left out, not undefined. Without `permanent` there is no TPM yet. */
export interface ExecutorState {
  readonly version: 1;
  readonly powered: boolean;
  readonly established: boolean;
  readonly bufferSize: number;
  readonly permanent?: Uint8Array | undefined;
  /** Undefined without power. */
  readonly volatile?: Uint8Array | undefined;
  /** The response of a command that was run and whose response nobody took yet. */
  readonly response?: Uint8Array | undefined;
}

/**
 * A TPM as the registers in front of it see one: it is given a command and is asked now and then whether it is done. Nothing here is a
 * promise, for a guest that reads a register cannot wait for one; the engine may run within `start` or on another thread all the same.
 * Nothing here throws, but `power` (what the store throws), `save` and `restore`.
 */
export interface TpmExecutor {
  /**
   * Begins a command, whose bytes are the executor's own from here on: the caller copied them out of what a guest can write to.
   * `locality` 0 to 4. A TPM without power answers as one that was not started. While `busy` it is a fault of the caller: nothing happens.
   */
  start(command: Uint8Array, locality: number): void;
  /** The response, once; undefined while the command runs, and when there is none. */
  poll(): Uint8Array | undefined;
  /** Waits for the response and takes it, for callers that are no guest. Undefined when no command was begun. */
  finish(): Uint8Array | undefined;
  /** A command was begun, and its response was not taken yet. */
  readonly busy: boolean;
  /** Asks the command that runs to end early, with TPM_RC_CANCELED. It may end in any other way; its response comes as ever. */
  cancel(): void;

  /** _TPM_Hash_Start, _Data, _End. In the order of the commands around them. */
  hashStart(): void;
  hashData(data: Uint8Array): void;
  hashEnd(): void;
  /** tpmEstablished: a dynamic root of trust was measured, and nobody at locality 3 or 4 took note of it since. */
  readonly established: boolean;
  /** False: only localities 3 and 4 may. */
  resetEstablished(locality: number): boolean;

  setPhysicalPresence(present: boolean): void;
  /** Power comes (_TPM_Init), or goes. A command that runs is ended first, and its response is lost. Coming twice is a reset: power goes between. */
  power(on: boolean): void;
  readonly powered: boolean;

  /** Bytes of the largest command and response. */
  readonly bufferSize: number;
  /** Gives what it is now: the TPM has its own limits. */
  setBufferSize(size: number): number;

  /** Waits for a command that runs: a state is one between commands. Throws what the store does. */
  save(): ExecutorState;
  /** Puts `save`'s result back. Throws `TpmStateError` when it is none, and what the store throws; the TPM then is as before. */
  restore(state: ExecutorState): void;
}
