import { EntresolError } from "@entresol/wire";

/** What an embedder can do wrong at the boundary. */
export type HypervisorErrorCode = "bad-config" | "bad-address" | "bad-state" | "unavailable" | "disposed";

/** Thrown for the embedder's mistakes; never for anything that a guest does. */
export class HypervisorError extends EntresolError<HypervisorErrorCode> {
  override readonly name = "HypervisorError";
}
