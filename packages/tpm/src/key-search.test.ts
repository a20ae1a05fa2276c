import { Alg, Rc, Rh, type RsaPublic, SessionAttribute, TpmError } from "@entresol/tpm-types";
import { describe, expect, test } from "vitest";
import { nodeProvider } from "./crypto/node-provider.ts";
import { type KeySearch, searchKey } from "./key-search.ts";
import { TpmClient } from "./testing/client.ts";
import { createPrimary, flush } from "./testing/objects.ts";
import { rsaTemplate } from "./testing/templates.ts";
import { Tpm, type TpmOptions } from "./tpm.ts";

/** TPMs of the same seeds. */
function options(): TpmOptions {
  let drawn = 0;
  const random = (length: number): Uint8Array => {
    const counter = Uint8Array.of(drawn >>> 8, drawn++);
    const stretch = (i: number) => nodeProvider.hash(Alg.SHA512, new Uint8Array([...counter, i]));
    return Buffer.concat([0, 1, 2, 3].map(stretch)).subarray(0, length);
  };
  return { crypto: { ...nodeProvider, random }, now: () => 0 };
}
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** Lets every search for an RSA key be made by `search`. */
class WaitingTpm extends Tpm {
  readonly searches: KeySearch[] = [];
  search: (search: KeySearch) => ReturnType<typeof searchKey> | undefined = (search) =>
    searchKey(nodeProvider, search);

  override execute(command: Uint8Array, locality = 0): Uint8Array {
    const begun = command.slice();
    let outcome = this.begin(begun, locality, 512);
    begun.fill(0);
    while (!(outcome instanceof Uint8Array)) {
      this.searches.push(outcome);
      outcome = this.resume(this.search(outcome));
    }
    return outcome;
  }
}
function waiting(): { tpm: WaitingTpm; client: TpmClient } {
  const tpm = new WaitingTpm(options());
  const client = new TpmClient(tpm);
  client.run("Startup", {}, { startupType: 0 });
  return { tpm, client };
}
const template = rsaTemplate();

describe("a command whose key is searched elsewhere", () => {
  test("makes the key that it would have found itself, primary or ordinary", () => {
    const { tpm, client } = waiting();
    const itself = TpmClient.started(options());
    const [first, second] = [client, itself].map((each) => createPrimary(each, template));
    expect(first!.name).toEqual(second!.name);
    expect(tpm.searches.length).toBe(1);
    // A primary key that was found is known.
    flush(client, first!.handle);
    const again = createPrimary(client, template);
    expect(tpm.searches.length).toBe(1);
    const { outPublic } = client.run(
      "Create",
      { parentHandle: again.handle },
      {
        inSensitive: { userAuth: new Uint8Array(0), data: new Uint8Array(0) },
        inPublic: template,
        outsideInfo: new Uint8Array(0),
        creationPCR: [],
      },
    );
    expect((outPublic as RsaPublic).unique.length).toBe(256);
    expect(tpm.searches.length).toBe(2);
  });

  test("has changed nothing while it waits, and a TPM that goes on elsewhere does so without it", () => {
    const { tpm, client } = waiting();
    let states: string[] = [];
    const seen = (): string[] => [hex(tpm.savePermanent()), hex(tpm.saveVolatile())];
    tpm.search = (search) => {
      states = seen();
      return searchKey(nodeProvider, search);
    };
    const before = seen();
    createPrimary(client, template);
    expect(states).toEqual(before);
    expect(seen()).not.toEqual(before);
  });

  test("has used up no nonce of its session, and its parameters are still encrypted", () => {
    const { tpm, client } = waiting();
    const symmetric = { algorithm: Alg.AES, keyBits: 128, mode: Alg.CFB, hash: Alg.NULL };
    const session = client.session({ symmetric, bind: Rh.OWNER });
    const parameters = {
      inSensitive: { userAuth: Uint8Array.of(1, 2, 3), data: new Uint8Array(0) },
      inPublic: template,
      outsideInfo: new Uint8Array(0),
      creationPCR: [],
    };
    const auth = [{ session, attributes: SessionAttribute.continueSession | SessionAttribute.decrypt }];
    for (const handle of [0x8000_0000, 0x8000_0001])
      expect(client.run("CreatePrimary", { primaryHandle: Rh.OWNER }, parameters, { auth }).handle).toBe(
        handle,
      );
    expect(tpm.searches.length).toBe(1);
  });

  test("is answered TPM_RC_CANCELED when nobody searches, and can be given again", () => {
    const { tpm, client } = waiting();
    const { search } = tpm;
    tpm.search = () => undefined;
    expect(() => createPrimary(client, template)).toThrow(new TpmError(Rc.CANCELED));
    tpm.search = search;
    expect(createPrimary(client, template).handle).toBe(0x8000_0000);
  });

  test("is answered as one of a TPM without power when that has gone, and is forgotten when it comes", () => {
    const { tpm, client } = waiting();
    const key = searchKey(nodeProvider, { bits: 512, exponent: 0, derivation: 1, draws: random(32) });
    tpm.search = () => {
      tpm.powerOff();
      return key;
    };
    expect(() => createPrimary(client, template)).toThrow(new TpmError(Rc.INITIALIZE));
    tpm.powerOn();
    expect(() => tpm.resume(key)).toThrow(RangeError);
  });
});

function random(size: number): Uint8Array[] {
  return Array.from({ length: 8 }, () => nodeProvider.random(size));
}

test("a search takes draws of half the key's length only", () => {
  const search = { bits: 512, exponent: 0, derivation: 1, draws: random(31) };
  expect(() => searchKey(nodeProvider, search)).toThrow(RangeError);
  expect(() =>
    searchKey(nodeProvider, { ...search, draws: random(32) }, () => {
      throw new TpmError(Rc.CANCELED);
    }),
  ).toThrow(TpmError);
});
