import { MalformedError } from "@entresol/wire";
import type { TcbStatus } from "../outcome.ts";
import {
  type PlatformLevel,
  parseQeIdentity,
  parseTcbInfo,
  type SvnLevel,
  type TcbInfo,
} from "../tdx/collateral.ts";
import type { QuoteClaims, QuoteCollateral } from "../tdx/evidence.ts";
import { moduleIdentityOf, moduleName } from "../tdx/tcb-level.ts";

/* By how much a platform is short of what Intel calls current: which half, which component, from where to where. */

const CURRENT: TcbStatus = "UpToDate";
const day = (at: number): string => new Date(at).toISOString().slice(0, 10);

/** "SGX TCB component 3 is 5, 7 is needed" for each component below the level's. */
function below(what: string, svns: Uint8Array, level: Uint8Array, first = 0): string[] {
  const short: string[] = [];
  for (let i = first; i < level.length; i++) {
    const [found, needed] = [svns[i] ?? 0, level[i] as number];
    if (found < needed) short.push(`${what} component ${i + 1} is ${found}, ${needed} is needed`);
  }
  return short;
}

function platformShort({ pck, quote }: QuoteClaims, { levels }: TcbInfo): string[] {
  const level: PlatformLevel | undefined = levels.find(({ status }) => status === CURRENT);
  if (level === undefined || pck === undefined) return [];
  const { body } = quote;
  const svns = body.tee === "tdx" ? body.fields.teeTcbSvn : undefined;
  const short = below("SGX TCB", pck.components, level.sgx);
  if (pck.pceSvn < level.pceSvn) short.push(`PCESVN is ${pck.pceSvn}, ${level.pceSvn} is needed`);
  // The first two are the TDX module's own business as soon as it has a major version.
  if (svns !== undefined && level.tdx !== undefined)
    short.push(...below("TDX TCB", svns, level.tdx, (svns[1] ?? 0) > 0 ? 2 : 0));
  return short.map((one) => `platform: ${one} (level of ${day(level.date)})`);
}

function svnShort(who: string, svn: number, levels: readonly SvnLevel[]): string[] {
  const level = levels.find(({ status }) => status === CURRENT);
  return level === undefined || svn >= level.isvSvn
    ? []
    : [`${who}: SVN is ${svn}, ${level.isvSvn} is needed (level of ${day(level.date)})`];
}

/** What is below the level that is current, a line each. Empty where nothing is, and where the collateral cannot be read. */
export function shortfallOf(claims: QuoteClaims, { tcbInfo, qeIdentity }: QuoteCollateral): string[] {
  const { body, qe } = claims.quote;
  const short: string[] = [];
  try {
    if (tcbInfo !== undefined) {
      const info = parseTcbInfo(tcbInfo);
      short.push(...platformShort(claims, info));
      if (body.tee === "tdx") {
        const { teeTcbSvn } = body.fields;
        const levels = moduleIdentityOf(info, teeTcbSvn)?.levels ?? [];
        short.push(...svnShort(`TDX module ${moduleName(teeTcbSvn[1] ?? 0)}`, teeTcbSvn[0] ?? 0, levels));
      }
    }
    if (qeIdentity !== undefined)
      short.push(...svnShort("quoting enclave", qe.report.isvSvn, parseQeIdentity(qeIdentity).levels));
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
  }
  return short;
}
