import { CollateralClient, Completion, publicServices, type Submission } from "@entresol/attestation";
import { element } from "./element.ts";

/** A document that the evidence needs and that was not given. */
export interface MissingDocument {
  /** File name. */
  readonly name: string;
  readonly url: URL;
}

/** What a client that may fetch would ask AMD's and Intel's services for. Nothing is asked for here. */
export async function missingDocuments(submission: Submission, at: number): Promise<MissingDocument[]> {
  const urls: URL[] = [];
  const store = {
    get: async (url: string) => {
      urls.push(new URL(url));
      return undefined;
    },
    set: async () => {},
  };
  const completion = new Completion(new CollateralClient({ store, offline: true }));
  const asked = await completion.complete(submission.copy(), at);
  return asked.flatMap(({ name }, i) => (urls[i] === undefined ? [] : [{ name, url: urls[i] }]));
}

const titles: Readonly<Record<string, string>> = {
  "vcek.der": "certificate of the chip's key",
  "crl.der": "AMD's revocation list",
  "tcbinfo.json": "TCB info of the platform",
  "qeidentity.json": "identity of the quoting enclave",
  "pck_crl.der": "revocation list of PCK certificates",
  "root_ca_crl.der": "revocation list of Intel's root",
  "pck.pem": "PCK certificate of the platform",
};

/** Says where to get it; nothing when all is there. AMD's files can be opened by hand, Intel's come with signers in their headers. */
export function missingView(missing: readonly MissingDocument[]): HTMLElement[] {
  if (missing.length === 0) return [];
  const byHand = missing.every(({ url }) => url.href.startsWith(publicServices.kds));
  const items = missing.map(({ name, url }) =>
    element(
      "li",
      {},
      byHand
        ? element("a", { href: url.href, target: "_blank", rel: "noopener noreferrer" }, name)
        : element("strong", {}, name),
      `, ${titles[name] ?? "collateral"}`,
    ),
  );
  const how = byHand
    ? element(
        "p",
        { class: "hint note" },
        "The links ask AMD's service, which then learns the chip. Drop here what they give.",
      )
    : element(
        "p",
        { class: "hint note" },
        "This command asks Intel's service, and makes one file to drop here: ",
        element("code", {}, "entresol-verify collateral quote.bin --fetch --out collateral.json"),
      );
  return [
    element(
      "section",
      { class: "panel todo", "aria-labelledby": "missing-title" },
      element("h3", { id: "missing-title" }, "What is not here"),
      element("ul", {}, ...items),
      how,
    ),
  ];
}
