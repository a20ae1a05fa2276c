import { stackUnderflow, storeIndefinite } from "./x87stack";
/** Executes D9 E0 + `code` for the elementary functions. */
export function execute(code: u32): void {
  if (stackUnderflow()) storeIndefinite(0);
}
