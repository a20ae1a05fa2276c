// Evidence and collateral with bytes changed, cut, moved and taken from other evidence, through the whole verifier of TDX, SGX and SNP:
// nothing throws, nothing takes long, and what is verified all the same says exactly what the unchanged evidence says, over signed bytes
// that are exactly the same. A cache serves many cases, as in a service, so that nothing one case leaves there helps another.
import { isDeepStrictEqual } from "node:util";
import { toHex } from "@entresol/wire";
import {
  anchorOf,
  CertificateCache,
  judge as decide,
  nativeProvider,
  parseQeIdentity,
  parseTcbInfo,
  verifySgx,
  verifySnp,
  verifyTdx,
} from "../dist/index.js";
import { platform, platformTime } from "../dist/testing/quote-evidence.js";
import { chip } from "../dist/testing/snp-evidence.js";

export const description =
  "evidence with bytes changed through the whole verifier: nothing verified that was not signed";
export const defaultCount = 1_000_000;

const STEP = 1000;
/** A verification that needs this long each time does more than it should, ms. */
const SLOW = 250;

/** SplitMix64, cut to 32 bits. */
function generator(seed) {
  let state = BigInt.asUintN(64, BigInt(seed) * 0x9e3779b97f4a7c15n);
  return () => {
    state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n);
    let z = state;
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return Number((z ^ (z >> 31n)) & 0xffffffffn);
  };
}

const numbers = [
  0, 1, 2, 3, 4, 5, 6, 7, 0x7f, 0x80, 0xff, 0x180, 0x248, 0x288, 0xffff, 0x7fffffff, 0xffffffff,
];

function mutate(bytes, others, random) {
  const below = (limit) => random() % limit;
  const pick = (list) => list[below(list.length)];
  let changed = bytes.slice();
  for (let times = 1 + below(3); times > 0; times--) {
    if (changed.length < 4) return changed;
    const at = below(changed.length);
    const view = new DataView(changed.buffer, changed.byteOffset, changed.byteLength);
    switch (below(9)) {
      case 0:
      case 1:
        changed[at] ^= 1 << below(8);
        break;
      case 2:
        changed[at] = below(256);
        break;
      case 3:
        view.setUint16(Math.min(at, changed.length - 2), pick(numbers) & 0xffff, below(2) === 0);
        break;
      case 4:
        view.setUint32(Math.min(at, changed.length - 4), pick(numbers), below(2) === 0);
        break;
      case 5:
        changed = changed.slice(0, at);
        break;
      case 6: {
        const longer = new Uint8Array(changed.length + 1 + below(40));
        const from = below(4) === 0 ? changed.length : at;
        longer.set(changed.subarray(0, from));
        longer.set(changed.subarray(from), longer.length - (changed.length - from));
        changed = longer;
        break;
      }
      case 7: {
        // The same place of the same part of other evidence, which somebody did sign.
        const other = pick(others);
        const length = 1 + below(512);
        const from = below(2) === 0 ? at : below(other.length);
        changed.set(other.subarray(from, from + Math.min(length, changed.length - at)), at);
        break;
      }
      default:
        changed.copyWithin(at, below(changed.length), below(changed.length));
    }
  }
  return changed;
}

const same = (a, b) => Buffer.compare(a, b) === 0;

/**
 * Parts of a quote's evidence. `kept`: is what is signed what somebody signed, where it was verified all the same? All samples have the same
 * keys, so that a list or document may be taken whole from another one.
 */
const quoteParts = {
  quote: {
    get: ({ quote }) => quote,
    put: (evidence, bytes) => ({ ...evidence, quote: bytes }),
    // The certificates' text may have other white space, and zeros may follow.
    kept: (_changed, now, before) =>
      ["signedBytes", "attestationKey"].every((name) => same(now.quote[name], before.quote[name])) &&
      ["reportBytes", "authData"].every((name) => same(now.quote.qe[name], before.quote.qe[name])),
  },
  ...Object.fromEntries(
    [
      ["tcbInfo", (changed, original) => same(parseTcbInfo(changed).body, parseTcbInfo(original).body)],
      [
        "qeIdentity",
        (changed, original) => same(parseQeIdentity(changed).body, parseQeIdentity(original).body),
      ],
      ["rootCrl", same],
      ["pckCrl", same],
    ].map(([name, keeps]) => [
      name,
      {
        get: ({ collateral }) => collateral[name],
        put: (evidence, bytes) => ({ ...evidence, collateral: { ...evidence.collateral, [name]: bytes } }),
        kept: (changed, _now, _before, originals) => originals.some((original) => keeps(changed, original)),
      },
    ]),
  ),
  signers: {
    get: ({ collateral }) => collateral.signers[0],
    put: (evidence, bytes) => ({ ...evidence, collateral: { ...evidence.collateral, signers: [bytes] } }),
    kept: () => true,
  },
};

const oneOf = (changed, _now, _before, originals) => originals.some((original) => same(changed, original));
const certificateAt = (index) => ({
  get: ({ certificates }) => certificates[index],
  put: (evidence, bytes) => ({ ...evidence, certificates: evidence.certificates.with(index, bytes) }),
  // The root is trusted by its key and not by its certificate.
  kept: index === 2 ? () => true : oneOf,
});
const reportParts = {
  report: {
    get: ({ report }) => report,
    put: (evidence, bytes) => ({ ...evidence, report: bytes }),
    kept: (_changed, now, before) =>
      same(now.report.signedBytes, before.report.signedBytes) &&
      same(now.report.signature, before.report.signature),
  },
  leaf: certificateAt(0),
  ask: certificateAt(1),
  ark: certificateAt(2),
  crl: {
    get: ({ crls }) => crls[0],
    put: (evidence, bytes) => ({ ...evidence, crls: [bytes] }),
    kept: oneOf,
  },
};

const quoteClaims = ({ claims, tcb, window }) => ({
  pck: claims.pck,
  root: claims.root,
  numbers: claims.evaluationDataNumbers,
  judgement: claims.judgement,
  tcb,
  window,
});
const reportClaims = ({ claims: { line, tcb, signingKey, root, cspId } }) => ({
  line,
  tcb,
  signingKey,
  root,
  cspId,
});

async function samples() {
  const quotes = [
    { name: "TDX 1.0", version: 4, bodyType: 2 },
    { name: "TDX 1.5", version: 5, bodyType: 3, ca: "Processor" },
    { name: "TDX extended", version: 5, bodyType: 4 },
    { name: "SGX 3", version: 3, bodyType: 1 },
    { name: "SGX 5", version: 5, bodyType: 1 },
  ].map(({ name, ...input }) => {
    const { quote, collateral, roots } = platform({
      ...input,
      rootCrl: { revoked: [{ serial: 0x999 }] },
      pckCrl: { revoked: [{ serial: 0x998 }, { serial: 0x997 }] },
    });
    return {
      name,
      parts: quoteParts,
      claims: quoteClaims,
      verify: input.bodyType === 1 ? verifySgx : verifyTdx,
      evidence: { quote, collateral },
      options: { at: platformTime, roots },
    };
  });
  const reports = ["Milan", "Genoa", "Turin"].flatMap((line) =>
    ["vcek", "vlek"].map((kind) => {
      const { report, certificates, crls } = chip({ line, kind, crl: { revoked: [{ serial: 0x999 }] } });
      return {
        name: `${line} ${kind}`,
        parts: reportParts,
        claims: reportClaims,
        verify: verifySnp,
        evidence: { report, certificates, crls },
        options: { at: "2026-06-01T00:00:00Z", roots: [anchorOf(certificates[2])] },
      };
    }),
  );
  const all = [...quotes, ...reports];
  for (const sample of all) {
    sample.outcome = await sample.verify(sample.evidence, sample.options);
    if (sample.outcome.verified === undefined)
      throw new Error(`${sample.name} is not verified to begin with`);
  }
  return all;
}

/** What is wrong with how a changed part is taken; undefined when nothing is. */
async function judge(sample, part, changed, originals, cache) {
  const { put, kept } = sample.parts[part];
  const run = () => sample.verify(put(sample.evidence, changed), { ...sample.options, cache });
  const started = performance.now();
  let outcome;
  try {
    outcome = await run();
  } catch (error) {
    return `throws ${error?.stack ?? error}`;
  }
  if (performance.now() - started > SLOW) {
    let slow = true;
    for (let again = 0; again < 3 && slow; again++) {
      const from = performance.now();
      await run();
      slow = performance.now() - from > SLOW;
    }
    if (slow) return `takes more than ${SLOW} ms`;
  }
  const { verified, checks } = outcome;
  if (verified === undefined) {
    const failed = checks.some(({ result }) => result === "failed");
    return failed ? undefined : "is not verified, and no check says why";
  }
  if (!kept(changed, verified.claims, sample.outcome.claims, originals))
    return "is verified, and what is signed has changed";
  if (isDeepStrictEqual(sample.claims(outcome), sample.claims(sample.outcome))) return undefined;
  // A quote that says that it carries no certificates leaves their checks without a result, and nobody accepts it.
  const open = checks.some(({ result }) => result === "not-run");
  if (!open || decide(outcome).verdict === "accepted")
    return "is verified, and says something else than before";
  return undefined;
}

export async function* run({ seed, count, position }) {
  const all = await samples();
  const crypto = nativeProvider();
  let done = position - (position % STEP);
  while (done < count) {
    const last = Math.min(count, done + STEP);
    const cache = new CertificateCache(crypto);
    const messages = [];
    let mismatches = 0;
    for (let at = done; at < last; at++) {
      const random = generator(BigInt(seed) * 1_000_003n + BigInt(at));
      const sample = all[random() % all.length];
      const names = Object.keys(sample.parts);
      // Half of the cases change the evidence itself.
      const part = random() % 2 === 0 ? names[0] : names[random() % names.length];
      const others = all
        .filter(({ parts }) => parts === sample.parts)
        .map(({ evidence }) => sample.parts[part].get(evidence));
      const changed = mutate(sample.parts[part].get(sample.evidence), others, random);
      const problem = await judge(sample, part, changed, others, cache);
      if (problem === undefined) continue;
      mismatches++;
      if (messages.length < 5)
        messages.push(
          `case ${at}, ${sample.name}, ${part}: ${problem}\n    ${toHex(changed.subarray(0, 64))}`,
        );
    }
    done = last;
    yield { position: done, mismatches, messages };
  }
}
