import { EvidenceError } from "../errors.ts";
import { nativeProvider } from "./native.ts";
import type { CryptoProvider } from "./provider.ts";
import { webProvider } from "./web.ts";

let found: CryptoProvider | undefined;

/** Native cryptography on Node, WebCrypto elsewhere. Throws `EvidenceError` `no-crypto` where there is neither (a page that is not a secure context). */
export function defaultProvider(): CryptoProvider {
  found ??= nativeProvider() ?? webProvider();
  if (found === undefined)
    throw new EvidenceError(
      "no-crypto",
      "neither node:crypto nor crypto.subtle is here: pages need https or localhost",
    );
  return found;
}
