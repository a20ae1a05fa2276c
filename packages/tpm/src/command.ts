import type {
  CommandHandles,
  CommandName,
  CommandParameters,
  CommandResponse,
  commands,
} from "@entresol/tpm-types";
import type { Engine } from "./engine.ts";

/** A command that has been authorized, with its parameters in the clear. */
export interface Call<N extends CommandName> {
  readonly handles: CommandHandles<N>;
  readonly parameters: CommandParameters<N>;
  /** The command's code, which several commands that work alike look at. */
  readonly code: number;
  /** Session handles in the order of the command's sessions; none without sessions. */
  readonly sessions: readonly number[];
}

/** What a command gives back: its response parameters by name, and the handle of a command that makes one. */
export type Result<N extends CommandName> = CommandResponse<N> &
  ((typeof commands)[N]["responseHandle"] extends undefined ? unknown : { readonly responseHandle: number });

/** Carries a command out. Throws `TpmError` for every answer but success; then it has changed nothing that the answer does not say. */
export type Handler<N extends CommandName> = (engine: Engine, call: Call<N>) => Result<N>;

/** Handlers by command. */
export type Handlers = { readonly [N in CommandName]?: Handler<N> };
