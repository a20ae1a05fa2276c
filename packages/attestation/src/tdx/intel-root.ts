import type { TrustAnchor } from "../x509/anchor.ts";
import { builtInKey } from "../x509/cache.ts";

/** Intel's root for SGX and TDX, as a figure: ECDSA P-256. */
export const intelRootFigure = {
  name: "Intel SGX Root CA",
  /** Of the certificate that Intel publishes. */
  certificateSha256: "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3",
  serial: "22650cd65a9d3489f383b49552bf501b392706ac",
  /** Base64 of the SubjectPublicKeyInfo. */
  spki: "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEC6nEwMDIYZOj/iPWsCzaEKi71OiOSLRFhWGjbnBVJfVnkY4u3IjkDYYL0MxO4mqsyYjlBalTVYxFP2sJBK5zlA==",
} as const;

export const intelRoot: TrustAnchor = {
  name: intelRootFigure.name,
  spki: builtInKey(Uint8Array.from(atob(intelRootFigure.spki), (letter) => letter.charCodeAt(0))),
  serial: Uint8Array.from({ length: 20 }, (_, i) =>
    Number.parseInt(intelRootFigure.serial.slice(2 * i, 2 * i + 2), 16),
  ),
};
