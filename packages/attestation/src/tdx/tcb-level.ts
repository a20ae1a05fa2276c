import type { TcbState, TcbStatus } from "../outcome.ts";
import type { ModuleIdentity, PlatformLevel, QeIdentity, SvnLevel, TcbInfo } from "./collateral.ts";
import type { PckExtensions } from "./pck.ts";

/* Which published TCB level a platform has, and what its parts make together (Intel SGX/TDX PCS API v4; DCAP quote verification). */

/** TEE_TCB_SVN as a TD report has it, 16 bytes: [0] SVN and [1] major version of the TDX module, the rest the platform's. */
export interface TdSvns {
  readonly current: Uint8Array;
  /** TEE_TCB_SVN_2: what the TD would have after a relaunch; only body type 3 has it. */
  readonly afterRelaunch: Uint8Array | undefined;
}

/** All the 16 SVNs from `first` on at least those of the level. */
function reaches(svns: Uint8Array, level: Uint8Array, first: number): boolean {
  for (let i = first; i < 16; i++) if ((svns[i] as number) < (level[i] as number)) return false;
  return true;
}

/** SVNs of the module are its identity's business as soon as it has a major version. */
const firstOfPlatform = (svns: Uint8Array): number => ((svns[1] as number) > 0 ? 2 : 0);

export interface PlatformMatch {
  /** The first level that the SGX components and PCESVN reach. */
  readonly sgx: PlatformLevel | undefined;
  /** From there on, the first whose TDX components the TD reaches too. */
  readonly tdx: PlatformLevel | undefined;
}

export function matchPlatform(info: TcbInfo, pck: PckExtensions, td: TdSvns | undefined): PlatformMatch {
  const at = info.levels.findIndex((one) => reaches(pck.components, one.sgx, 0) && pck.pceSvn >= one.pceSvn);
  const sgx = info.levels[at];
  if (sgx === undefined || td === undefined) return { sgx, tdx: undefined };
  const first = firstOfPlatform(td.current);
  const tdx = info.levels
    .slice(at)
    .find((one) => one.tdx !== undefined && reaches(td.current, one.tdx, first));
  return { sgx, tdx };
}

/** Name of the identity of a module of this major version: "TDX_03". */
export const moduleName = (major: number): string =>
  `TDX_${major.toString(16).padStart(2, "0").toUpperCase()}`;

/** The module's identity in TCB info: by its major version, compared without case, or `tdxModule` when it has none. */
export function moduleIdentityOf(info: TcbInfo, svns: Uint8Array): ModuleIdentity | undefined {
  const major = svns[1] as number;
  if (major === 0) return info.module;
  const name = moduleName(major);
  return info.moduleIdentities.find(({ id }) => id?.toUpperCase() === name);
}

/** The first level that an SVN reaches. */
export function svnLevel(levels: readonly SvnLevel[], svn: number): SvnLevel | undefined {
  return levels.find(({ isvSvn }) => svn >= isvSvn);
}

/** `status` as the status of another part makes it: what is revoked or unsupported spoils all, what is out of date spoils what was current. */
export function converge(status: TcbStatus, other: TcbStatus): TcbStatus {
  switch (other) {
    case "Revoked":
    case "Unsupported":
      return other;
    case "OutOfDate":
      if (status === "UpToDate" || status === "SWHardeningNeeded") return "OutOfDate";
      if (status === "ConfigurationNeeded" || status === "ConfigurationAndSWHardeningNeeded")
        return "OutOfDateConfigurationNeeded";
      return status;
    case "UpToDate":
      return status;
    default:
      // No module and no enclave has another status: what it would mean for the whole nobody has said.
      return "Unsupported";
  }
}

const sgxGood: ReadonlySet<TcbStatus> = new Set<TcbStatus>([
  "UpToDate",
  "SWHardeningNeeded",
  "ConfigurationNeeded",
  "ConfigurationAndSWHardeningNeeded",
]);
const namesConfiguration: ReadonlySet<TcbStatus> = new Set<TcbStatus>([
  "ConfigurationNeeded",
  "ConfigurationAndSWHardeningNeeded",
  "OutOfDateConfigurationNeeded",
]);

/**
 * Would the TD be up to date if it were launched again? The platform has been updated under it: only the module that it was measured by is old.
 */
function relaunchHelps(info: TcbInfo, svns2: Uint8Array): boolean {
  const latest = info.levels[0]?.tdx;
  if (latest === undefined) return false;
  const at = (i: number): number => svns2[i] as number;
  if (at(2) < (latest[2] as number)) return false;
  if (at(1) === 0) return at(0) >= (latest[0] as number);
  const newest = moduleIdentityOf(info, svns2)?.levels[0];
  return newest !== undefined && at(0) >= newest.isvSvn;
}

export interface Judgement {
  readonly state: TcbState;
  readonly platform: PlatformMatch;
  readonly module: SvnLevel | undefined;
  readonly qe: SvnLevel | undefined;
}

/** The state of a TD's TCB: platform and TDX module first, then the quoting enclave. */
export function judgeTd(
  info: TcbInfo,
  identity: QeIdentity,
  pck: PckExtensions,
  qeSvn: number,
  td: TdSvns,
): Judgement {
  const platform = matchPlatform(info, pck, td);
  const major = td.current[1] as number;
  const moduleLevel =
    major === 0
      ? undefined
      : svnLevel(moduleIdentityOf(info, td.current)?.levels ?? [], td.current[0] as number);
  const moduleStatus: TcbStatus = major === 0 ? "UpToDate" : (moduleLevel?.status ?? "Unsupported");
  const qe = svnLevel(identity.levels, qeSvn);
  const qeStatus = qe?.status ?? "Unsupported";
  const platformStatus = platform.tdx?.status ?? "Unsupported";

  let status = converge(platformStatus, moduleStatus);
  const relaunch =
    td.afterRelaunch !== undefined &&
    qeStatus !== "OutOfDate" &&
    qeStatus !== "Revoked" &&
    qeStatus !== "Unsupported" &&
    platform.sgx !== undefined &&
    sgxGood.has(platform.sgx.status) &&
    (status === "OutOfDate" || status === "OutOfDateConfigurationNeeded") &&
    moduleStatus === "OutOfDate" &&
    relaunchHelps(info, td.afterRelaunch);
  if (relaunch)
    status =
      namesConfiguration.has((platform.sgx as PlatformLevel).status) || namesConfiguration.has(platformStatus)
        ? "TDRelaunchAdvisedConfigurationNeeded"
        : "TDRelaunchAdvised";
  status = converge(status, qeStatus);
  return {
    state: {
      status,
      platform: platformStatus,
      module: moduleStatus,
      qe: qeStatus,
      advisories: advisoriesOf(platform.tdx, moduleLevel, qe),
    },
    platform,
    module: moduleLevel,
    qe,
  };
}

/** The same for an SGX enclave. */
export function judgeEnclave(
  info: TcbInfo,
  identity: QeIdentity,
  pck: PckExtensions,
  qeSvn: number,
): Judgement {
  const platform = matchPlatform(info, pck, undefined);
  const qe = svnLevel(identity.levels, qeSvn);
  const platformStatus = platform.sgx?.status ?? "Unsupported";
  const qeStatus = qe?.status ?? "Unsupported";
  return {
    state: {
      status: converge(platformStatus, qeStatus),
      platform: platformStatus,
      module: undefined,
      qe: qeStatus,
      advisories: advisoriesOf(platform.sgx, undefined, qe),
    },
    platform,
    module: undefined,
    qe,
  };
}

function advisoriesOf(
  ...levels: readonly ({ readonly advisories: readonly string[] } | undefined)[]
): string[] {
  return [...new Set(levels.flatMap((level) => level?.advisories ?? []))].sort();
}
