import { describe, expect, test } from "vitest";
import type { TcbStatus } from "../outcome.ts";
import type { ModuleIdentity, PlatformLevel, QeIdentity, SvnLevel, TcbInfo } from "./collateral.ts";
import type { PckExtensions } from "./pck.ts";
import { converge, judgeEnclave, judgeTd, matchPlatform, moduleIdentityOf } from "./tcb-level.ts";

const svns = (...first: readonly number[]) => Uint8Array.from({ length: 16 }, (_, i) => first[i] ?? 0);
const at = Date.parse("2026-01-01T00:00:00Z");
const platformLevel = (
  status: TcbStatus,
  sgx: readonly number[],
  tdx: readonly number[],
  pceSvn = 0,
  advisories: readonly string[] = [],
): PlatformLevel => ({ status, date: at, advisories, sgx: svns(...sgx), tdx: svns(...tdx), pceSvn });
const svnLevel = (status: TcbStatus, isvSvn: number, advisories: readonly string[] = []): SvnLevel => ({
  status,
  date: at,
  advisories,
  isvSvn,
});
const module = (id: string | undefined, ...levels: SvnLevel[]): ModuleIdentity => ({
  id,
  mrSigner: new Uint8Array(48),
  attributes: new Uint8Array(8),
  attributesMask: new Uint8Array(8),
  levels,
});
const published = {
  body: new Uint8Array(0),
  signature: new Uint8Array(64),
  issueDate: at,
  nextUpdate: at,
  evaluationDataNumber: 1,
};
const info = (levels: readonly PlatformLevel[], ...moduleIdentities: ModuleIdentity[]): TcbInfo => ({
  ...published,
  id: "TDX",
  version: 3,
  fmspc: new Uint8Array(6),
  pceId: new Uint8Array(2),
  tcbType: 0,
  module: module(undefined),
  moduleIdentities,
  levels,
});
const identity = (...levels: SvnLevel[]): QeIdentity => ({
  ...published,
  id: "TD_QE",
  version: 2,
  miscSelect: new Uint8Array(4),
  miscSelectMask: new Uint8Array(4),
  attributes: new Uint8Array(16),
  attributesMask: new Uint8Array(16),
  mrSigner: new Uint8Array(32),
  isvProdId: 2,
  levels,
});
const pck = (pceSvn: number, ...components: readonly number[]): PckExtensions => ({
  components: svns(...components),
  pceSvn,
  pceId: new Uint8Array(2),
  fmspc: new Uint8Array(6),
  ppid: new Uint8Array(16),
  sgxType: 0,
  platformInstanceId: undefined,
  dynamicPlatform: undefined,
  cachedKeys: undefined,
  smtEnabled: undefined,
});

describe("the status of the whole", () => {
  const all: readonly TcbStatus[] = [
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "TDRelaunchAdvised",
    "TDRelaunchAdvisedConfigurationNeeded",
    "Revoked",
    "Unsupported",
  ];
  const outOfDate: Readonly<Record<TcbStatus, TcbStatus>> = {
    UpToDate: "OutOfDate",
    SWHardeningNeeded: "OutOfDate",
    ConfigurationNeeded: "OutOfDateConfigurationNeeded",
    ConfigurationAndSWHardeningNeeded: "OutOfDateConfigurationNeeded",
    OutOfDate: "OutOfDate",
    OutOfDateConfigurationNeeded: "OutOfDateConfigurationNeeded",
    TDRelaunchAdvised: "TDRelaunchAdvised",
    TDRelaunchAdvisedConfigurationNeeded: "TDRelaunchAdvisedConfigurationNeeded",
    Revoked: "Revoked",
    Unsupported: "Unsupported",
  };
  test.each(all)("%s with each status of another part", (status) => {
    expect(converge(status, "UpToDate")).toBe(status);
    expect(converge(status, "OutOfDate")).toBe(outOfDate[status]);
    expect(converge(status, "Revoked")).toBe("Revoked");
    expect(converge(status, "Unsupported")).toBe("Unsupported");
  });

  test("is unsupported where a part has a status that no module and no enclave can have", () => {
    for (const other of all)
      if (!["UpToDate", "OutOfDate", "Revoked", "Unsupported"].includes(other))
        expect(converge("UpToDate", other), other).toBe("Unsupported");
  });
});

describe("a platform's level", () => {
  const levels = [
    platformLevel("UpToDate", [3, 3], [5, 0, 3], 11),
    platformLevel("SWHardeningNeeded", [3, 2], [5, 0, 3], 11),
    platformLevel("OutOfDate", [2, 2], [4, 0, 2], 10),
  ];
  const match = (one: PckExtensions, ...tdx: readonly number[]) => {
    const found = matchPlatform(info(levels), one, { current: svns(...tdx), afterRelaunch: undefined });
    return [found.sgx?.status, found.tdx?.status];
  };
  test("is the first whose components and PCESVN it reaches", () => {
    expect(match(pck(11, 3, 3), 5, 0, 3)).toEqual(["UpToDate", "UpToDate"]);
    expect(match(pck(11, 3, 2), 5, 0, 3)).toEqual(["SWHardeningNeeded", "SWHardeningNeeded"]);
    expect(match(pck(10, 3, 3), 5, 0, 3)).toEqual(["OutOfDate", "OutOfDate"]);
    expect(match(pck(9, 3, 3), 5, 0, 3)).toEqual([undefined, undefined]);
  });
  test("is for a TD the first from there on whose TDX components it reaches too", () => {
    expect(match(pck(11, 3, 3), 4, 0, 2)).toEqual(["UpToDate", "OutOfDate"]);
    expect(match(pck(11, 3, 3), 3, 0, 2)).toEqual(["UpToDate", undefined]);
    // A TD cannot have a better level than its platform.
    expect(match(pck(11, 3, 2), 9, 0, 9)).toEqual(["SWHardeningNeeded", "SWHardeningNeeded"]);
  });
  test("leaves the module's components 0 and 1 to its identity as soon as it has a version", () => {
    expect(match(pck(11, 3, 3), 0, 1, 3)).toEqual(["UpToDate", "UpToDate"]);
    expect(match(pck(11, 3, 3), 9, 1, 2)).toEqual(["UpToDate", "OutOfDate"]);
    expect(match(pck(11, 3, 3), 0, 0, 3)).toEqual(["UpToDate", undefined]);
  });
  test("judges each of the 16 components", () => {
    const wanted = platformLevel("UpToDate", new Array(16).fill(1), new Array(16).fill(1));
    const reached = (sgx: Uint8Array, tdx: Uint8Array) =>
      matchPlatform(info([wanted]), pck(0, ...sgx), { current: tdx, afterRelaunch: undefined }).tdx !==
      undefined;
    const ones = new Uint8Array(16).fill(1);
    const versioned = ones.slice();
    expect(reached(ones, versioned)).toBe(true);
    for (let i = 0; i < 16; i++) {
      const short = ones.slice();
      short[i] = 0;
      expect(reached(short, ones), `SGX ${i}`).toBe(false);
      // 0 is the module's; 1 at zero means that it has no version, and both count again.
      expect(reached(ones, short), `TDX ${i}`).toBe(i === 0);
    }
  });
  test("may miss TDX components: it fits no TD", () => {
    const level = { ...platformLevel("UpToDate", [], []), tdx: undefined };
    expect(
      matchPlatform(info([level]), pck(0), { current: svns(), afterRelaunch: undefined }).tdx,
    ).toBeUndefined();
  });
});

describe("a TDX module's identity", () => {
  const ten = module("TDX_0A", svnLevel("UpToDate", 1));
  const small = module("tdx_0b", svnLevel("UpToDate", 1));
  const published = info([], ten, small);
  test("is found by two hexadecimal digits, in either case", () => {
    expect(moduleIdentityOf(published, svns(1, 10))).toBe(ten);
    expect(moduleIdentityOf(published, svns(1, 11))).toBe(small);
    expect(moduleIdentityOf(published, svns(1, 12))).toBeUndefined();
  });
  test("is tdxModule for one without a version", () => {
    expect(moduleIdentityOf(published, svns(1, 0))).toBe(published.module);
  });
});

describe("a TD's state", () => {
  const one = module(
    "TDX_01",
    svnLevel("UpToDate", 6),
    svnLevel("OutOfDate", 4, ["INTEL-SA-2"]),
    svnLevel("Revoked", 2),
  );
  const three = module("TDX_03", svnLevel("UpToDate", 3));
  const judge = (
    over: {
      levels?: readonly PlatformLevel[];
      qe?: readonly SvnLevel[];
      td?: readonly number[];
      td2?: readonly number[];
      identities?: readonly ModuleIdentity[];
    } = {},
  ) =>
    judgeTd(
      info(over.levels ?? [platformLevel("UpToDate", [], [5, 0, 3])], ...(over.identities ?? [one, three])),
      identity(...(over.qe ?? [svnLevel("UpToDate", 1)])),
      pck(0),
      1,
      {
        current: svns(...(over.td ?? [6, 1, 3])),
        afterRelaunch: over.td2 && svns(...over.td2),
      },
    ).state;

  test("names its parts, and every advisory once", () => {
    const levels = [platformLevel("SWHardeningNeeded", [], [5, 0, 3], 0, ["INTEL-SA-2", "INTEL-SA-1"])];
    expect(judge({ levels, td: [4, 1, 3] })).toEqual({
      status: "OutOfDate",
      platform: "SWHardeningNeeded",
      module: "OutOfDate",
      qe: "UpToDate",
      advisories: ["INTEL-SA-1", "INTEL-SA-2"],
    });
  });
  test.each<[TcbStatus, Parameters<typeof judge>[0]]>([
    ["UpToDate", {}],
    ["Revoked", { td: [2, 1, 3] }],
    ["Revoked", { levels: [platformLevel("Revoked", [], [])] }],
    ["Revoked", { qe: [svnLevel("Revoked", 1)] }],
    ["Unsupported", { td: [1, 1, 3] }],
    ["Unsupported", { td: [6, 1, 2] }],
    ["Unsupported", { td: [6, 7, 3] }],
    ["Unsupported", { qe: [svnLevel("UpToDate", 2)] }],
    ["Unsupported", { qe: [] }],
    ["OutOfDate", { qe: [svnLevel("OutOfDate", 1)] }],
    ["OutOfDate", { levels: [platformLevel("OutOfDate", [], [])] }],
    [
      "OutOfDateConfigurationNeeded",
      { levels: [platformLevel("ConfigurationNeeded", [], [])], td: [4, 1, 3] },
    ],
    [
      "OutOfDateConfigurationNeeded",
      {
        levels: [platformLevel("ConfigurationAndSWHardeningNeeded", [], [])],
        qe: [svnLevel("OutOfDate", 1)],
      },
    ],
  ])("%s: %j", (status, over) => expect(judge(over).status).toBe(status));

  describe("advises a relaunch", () => {
    const old = { td: [4, 1, 3] };
    test.each<[string, TcbStatus, Parameters<typeof judge>[0]]>([
      ["of a TD whose new module is current", "TDRelaunchAdvised", { ...old, td2: [6, 1, 3] }],
      ["of one whose new module is of another version", "TDRelaunchAdvised", { ...old, td2: [3, 3, 3] }],
      ["of one whose new module has no version", "TDRelaunchAdvised", { ...old, td2: [5, 0, 3] }],
      [
        "and configuration, where the platform's level names it",
        "TDRelaunchAdvisedConfigurationNeeded",
        { ...old, td2: [6, 1, 3], levels: [platformLevel("ConfigurationNeeded", [], [5, 0, 3])] },
      ],
      [
        "also where software has to be hardened",
        "TDRelaunchAdvised",
        { ...old, td2: [6, 1, 3], levels: [platformLevel("SWHardeningNeeded", [], [5, 0, 3])] },
      ],
      ["not without TEE_TCB_SVN_2", "OutOfDate", old],
      ["not when the module would still be old", "OutOfDate", { ...old, td2: [5, 1, 3] }],
      ["not when the new module's version is unknown", "OutOfDate", { ...old, td2: [6, 9, 3] }],
      [
        "not when the new module's identity has no levels",
        "OutOfDate",
        { ...old, td2: [6, 4, 3], identities: [one, module("TDX_04")] },
      ],
      [
        "not when the platform would still be below the latest level",
        "OutOfDate",
        { ...old, td2: [6, 1, 2] },
      ],
      ["not when a module without a version would be below it", "OutOfDate", { ...old, td2: [4, 0, 3] }],
      [
        "not when the platform itself is out of date",
        "OutOfDate",
        { ...old, td2: [6, 1, 3], levels: [platformLevel("OutOfDate", [], [5, 0, 3])] },
      ],
      [
        "not when the quoting enclave is out of date",
        "OutOfDate",
        { ...old, td2: [6, 1, 3], qe: [svnLevel("OutOfDate", 1)] },
      ],
      [
        "not when the quoting enclave is revoked",
        "Revoked",
        { ...old, td2: [6, 1, 3], qe: [svnLevel("Revoked", 1)] },
      ],
      ["not when the quoting enclave is unsupported", "Unsupported", { ...old, td2: [6, 1, 3], qe: [] }],
      ["not of a TD that is current", "UpToDate", { td2: [6, 1, 3] }],
      ["not of one whose module is revoked", "Revoked", { td: [2, 1, 3], td2: [6, 1, 3] }],
    ])("%s", (_name, status, over) => expect(judge(over).status).toBe(status));
  });
});

test("an enclave's state is that of its platform and of the quoting enclave", () => {
  const state = (sgx: TcbStatus, qe: TcbStatus) =>
    judgeEnclave(info([platformLevel(sgx, [], [])]), identity(svnLevel(qe, 1)), pck(0), 1).state;
  expect(state("UpToDate", "UpToDate")).toEqual({
    status: "UpToDate",
    platform: "UpToDate",
    module: undefined,
    qe: "UpToDate",
    advisories: [],
  });
  expect(state("ConfigurationNeeded", "OutOfDate").status).toBe("OutOfDateConfigurationNeeded");
  expect(state("UpToDate", "Revoked").status).toBe("Revoked");
});
