/*
 * What verification costs beside its signatures. The floor is measured in the same run: the signatures that our verifier verified for the
 * same evidence, verified again by bare node:crypto. Cold: nothing is known of the platform, so that
 * keys are made of their bytes, each once (the verifier makes those of built-in roots once for all). Warm: a
 * platform seen before; the floor is the quote's own two signatures with its attestation key made of its bytes, or a report's one.
 * Beside it @phala/dcap-qvl, which keeps nothing between two verifications.
 */
import { createRequire } from "node:module";
import { CertificateCache, nativeProvider, verifySgx, verifySnp, verifyTdx } from "../dist/index.js";
import { floorOf, Recorder, sgx, snp, source, tdx } from "./evidence/recorded.mjs";

const ROUNDS = 21;
/** About this long for each side of a round, ms. */
const SLICE = 40;
const WARM_UP = 3000;

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

/** CPU time of this process since `before`, µs. */
function spent(before) {
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

/** CPU time of one call of each action, µs: in turns, so that a slow moment of the machine hits all. */
async function times(actions) {
  const counts = [];
  for (const action of actions) {
    const before = process.cpuUsage();
    let count = 0;
    // Long, so that the engine has optimised all it will.
    while (spent(before) < 1000 * WARM_UP) {
      await action();
      count++;
    }
    counts.push(Math.max(1, Math.round((count * SLICE) / WARM_UP)));
  }
  const found = actions.map(() => []);
  for (let round = 0; round < ROUNDS; round++)
    for (const [i, action] of actions.entries()) {
      const before = process.cpuUsage();
      for (let n = 0; n < counts[i]; n++) await action();
      found[i].push(spent(before) / counts[i]);
    }
  return found.map(median);
}

/** @phala/dcap-qvl on the same evidence. It trusts Intel's root unless another is given. */
function phala({ evidence, options, root }) {
  const { QuoteVerifier } = createRequire(import.meta.url)("@phala/dcap-qvl");
  const { quote, collateral } = evidence;
  const text = new TextDecoder();
  const parts = (bytes, name) => {
    const all = text.decode(bytes);
    const from = all.indexOf("{", all.indexOf(`"${name}"`));
    const to = all.lastIndexOf("}", all.lastIndexOf('"signature"')) + 1;
    return [all.slice(from, to), Buffer.from(JSON.parse(all).signature, "hex")];
  };
  const [tcbInfo, tcbInfoSignature] = parts(collateral.tcbInfo, "tcbInfo");
  const [qeIdentity, qeIdentitySignature] = parts(collateral.qeIdentity, "enclaveIdentity");
  const chain = text.decode(collateral.signers[0]);
  const input = {
    tcb_info_issuer_chain: chain,
    tcb_info: tcbInfo,
    tcb_info_signature: tcbInfoSignature,
    qe_identity_issuer_chain: chain,
    qe_identity: qeIdentity,
    qe_identity_signature: qeIdentitySignature,
    pck_crl_issuer_chain: chain,
    root_ca_crl: Buffer.from(collateral.rootCrl),
    pck_crl: Buffer.from(collateral.pckCrl),
  };
  const verifier =
    root === undefined ? QuoteVerifier.newProd() : QuoteVerifier.newWithRootCa(Buffer.from(root));
  const now = Math.floor(new Date(options.at).getTime() / 1000);
  const bytes = Buffer.from(quote);
  return () => verifier.verify(bytes, input, now);
}

async function rowsOf(name, verify, subject, own) {
  const { evidence, options } = subject;
  const crypto = nativeProvider();
  const run = async (cache) => {
    const { verified, checks } = await verify(evidence, { ...options, cache });
    if (verified === undefined)
      throw new Error(`${name}: ${JSON.stringify(checks.filter(({ result }) => result === "failed"))}`);
  };
  const recorder = new Recorder(crypto);
  await run(new CertificateCache(recorder));
  const { verifications, imports } = recorder;
  const last = verifications.slice(-own);
  const cache = new CertificateCache(crypto);
  await run(cache);

  const peer = verify === verifySnp ? undefined : phala(subject);
  const [cold, coldFloor, readyFloor, warm, warmFloor] = await times([
    () => run(new CertificateCache(crypto)),
    floorOf(verifications, imports),
    floorOf(verifications, []),
    () => run(cache),
    floorOf(
      last,
      imports.filter(({ xy }) => xy !== undefined),
    ),
  ]);
  // By itself: what it leaves to be collected would else be collected in our time.
  const theirs = peer && (await times([peer]))[0];
  const row = (suffix, ours, peerTime, peerName) => ({
    case: `${name}-${suffix}`,
    ours,
    peer: peerTime,
    peerName,
    unit: "µs",
    ratio: peerTime / ours,
  });
  const signatures = `${verifications.length} signatures`;
  return [
    row("cold", cold, coldFloor, `floor: ${signatures}, ${imports.length} keys (${source})`),
    row("cold, keys ready", cold, readyFloor, `floor: ${signatures}`),
    row("warm", warm, warmFloor, `floor: ${own === 1 ? "1 signature" : `${own} signatures, 1 key`}`),
    ...(theirs === undefined ? [] : [row("cold, peer", cold, theirs, "@phala/dcap-qvl")]),
  ];
}

export async function bench() {
  return [
    ...(await rowsOf("tdx", verifyTdx, tdx, 2)),
    ...(await rowsOf("sgx", verifySgx, sgx, 2)),
    ...(await rowsOf("snp", verifySnp, snp, 1)),
  ];
}

if (process.argv[1] === new URL(import.meta.url).pathname) console.table(await bench());
