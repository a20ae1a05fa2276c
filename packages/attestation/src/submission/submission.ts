import { parseCertificateTable } from "@entresol/evidence";
import { MalformedError } from "@entresol/wire";
import type { CollateralBundle } from "../collateral/bundle.ts";
import type { QuoteCollateral } from "../tdx/evidence.ts";
import { evidenceRoles, type Role, roleOfBytes, roleOfName } from "./roles.ts";
import { plainBytes } from "./text-forms.ts";

/** Bytes and what they are called: a file, an upload. */
export interface NamedBytes {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** Something of a submission that was not used, or was understood in a way that its giver should know. */
export interface Remark {
  readonly name: string;
  readonly text: string;
}

const documentRoles: ReadonlySet<Role> = new Set<Role>([
  "vtpm-evidence",
  "tcb-info",
  "qe-identity",
  "tcb-signers",
  "tsm-provider",
  "tsm-service",
]);

/**
 * All that somebody hands over for one judgement: the evidence and what goes with it, by role. Certificates are DER here, one by one.
 * Nothing is verified, and nothing of it is trusted.
 */
export class Submission {
  readonly #parts = new Map<Role, NamedBytes[]>();
  readonly remarks: Remark[] = [];

  /** The first of a role. */
  get(role: Role): Uint8Array | undefined {
    return this.#parts.get(role)?.[0]?.bytes;
  }
  named(role: Role): readonly NamedBytes[] {
    return this.#parts.get(role) ?? [];
  }
  all(role: Role): readonly Uint8Array[] {
    return this.named(role).map(({ bytes }) => bytes);
  }
  has(...roles: readonly Role[]): boolean {
    return roles.some((role) => this.#parts.has(role));
  }
  get roles(): readonly Role[] {
    return [...this.#parts.keys()];
  }
  /** Is there anything that could be judged? */
  get hasEvidence(): boolean {
    return this.roles.some((role) => evidenceRoles.has(role));
  }

  /** Removes all of a role, and gives them. */
  take(role: Role): readonly NamedBytes[] {
    const taken = this.named(role);
    this.#parts.delete(role);
    return taken;
  }

  /** Another submission with the same parts, to which more can be added. */
  copy(): Submission {
    const other = new Submission();
    for (const [role, list] of this.#parts) other.#parts.set(role, [...list]);
    other.remarks.push(...this.remarks);
    return other;
  }

  set(role: Role, name: string, bytes: Uint8Array): void {
    const list = this.#parts.get(role);
    if (list === undefined) this.#parts.set(role, [{ name, bytes }]);
    else if (!list.some((other) => sameBytes(other.bytes, bytes))) list.push({ name, bytes });
  }

  /**
   * Adds a file. Its name says what it is for, or `role` does; else its bytes tell, once a text form is taken off. Gives false, and
   * remembers nothing, when neither tells. Bytes that are broken are kept for the verifier to say so.
   */
  add({ name, bytes }: NamedBytes, given?: Role): boolean {
    const role = given ?? roleOfName(name.replace(/^.*[\\/]/, ""));
    // Any bytes may be a nonce, also such as look like text.
    const isRawNonce = role === "nonce" && !/\.(hex|txt)$/i.test(name);
    if (role !== undefined && (documentRoles.has(role) || isRawNonce)) {
      this.set(role, name, bytes);
      return true;
    }
    let plain: ReturnType<typeof plainBytes>;
    try {
      plain = plainBytes(bytes);
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      plain = { form: "binary", blocks: [{ label: undefined, data: bytes }] };
    }
    if (plain.form === "hex" || plain.form === "base64")
      this.remarks.push({ name, text: `read as ${plain.form === "hex" ? "hexadecimal" : "base64"}` });
    let understood = false;
    for (const { data } of plain.blocks) {
      const seen = roleOfBytes(data);
      // A name is a hint: a quote may lie in report.bin.
      const renamed =
        given === undefined &&
        role !== undefined &&
        evidenceRoles.has(role) &&
        seen !== undefined &&
        evidenceRoles.has(seen);
      const found = renamed ? seen : (role ?? seen);
      if (found === undefined) continue;
      understood = true;
      if (found === "certificate-table" || found === "tsm-certificates") this.#addTable(name, data);
      // Linux has the file where there is no SVSM, too.
      else if (found === "svsm-manifest" && data.length === 0) continue;
      else if (found === "tsm-report") this.set(seen ?? "snp-report", name, data);
      // A list among certificates, or the other way round, goes where it belongs.
      else if (found === "certificate" || found === "crl")
        this.set(seen === "crl" ? "crl" : found, name, data);
      else this.set(found, name, data);
    }
    return understood;
  }

  #addTable(name: string, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    try {
      for (const { kind, data } of parseCertificateTable(bytes).entries) {
        if (kind !== undefined)
          this.add({ name: `${name}, ${kind}`, bytes: data }, kind === "crl" ? "crl" : "certificate");
        else this.remarks.push({ name, text: "an entry with an unknown GUID was passed over" });
      }
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.remarks.push({ name, text: `the table of certificates was passed over: ${error.message}` });
      // The verifier then says that it is no certificate.
      this.set("certificate", name, bytes);
    }
  }

  /** Adds what a bundle holds. */
  addBundle(name: string, { entries }: CollateralBundle): void {
    for (const { role, data, name: entry } of entries) this.set(role, `${name}, ${entry}`, data);
  }

  /** What Intel publishes, of all that was handed over. */
  collateral(): QuoteCollateral {
    const parts = {
      tcbInfo: this.get("tcb-info"),
      qeIdentity: this.get("qe-identity"),
      rootCrl: this.get("root-crl"),
      pckCrl: this.get("pck-crl"),
    };
    const signers = this.all("tcb-signers");
    return {
      ...Object.fromEntries(Object.entries(parts).filter(([, bytes]) => bytes !== undefined)),
      ...(signers.length > 0 && { signers }),
    };
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
