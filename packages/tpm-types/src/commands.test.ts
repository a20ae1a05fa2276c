import { describe, expect, it } from "vitest";
import {
  absentCommands,
  type CommandName,
  commandAttributes,
  commandList,
  commandOf,
  commands,
} from "./index.ts";

describe("the table of commands", () => {
  it("has 121 rows in the order of their codes, each code once", () => {
    const codes = commandList.map(({ code }) => code);
    expect(codes).toHaveLength(121);
    expect(codes).toEqual([...new Set(codes)].sort((a, b) => a - b));
    expect(Object.keys(commands)).toHaveLength(121);
  });

  it("and the commands that nobody implements make up the codes 0x11f to 0x1a1, but for five that mean nothing", () => {
    const codes = new Set([...commandList, ...absentCommands].map(({ code }) => code));
    const missing = Array.from({ length: 0x1a1 - 0x11f + 1 }, (_, i) => 0x11f + i).filter(
      (code) => !codes.has(code),
    );
    expect(codes.size).toBe(commandList.length + absentCommands.length);
    expect(missing).toEqual([0x123, 0x15a, 0x15f, 0x166, 0x175]);
  });

  it("gives a command by its code, and none for other codes", () => {
    for (const row of commandList) expect(commandOf(row.code)?.name).toBe(row.name);
    for (const code of [...absentCommands.map((row) => row.code), 0, 0x123, 0x1a2, 0x2000_0144])
      expect(commandOf(code)).toBeUndefined();
  });

  it("puts handles with a role before those without, and ADMIN and DUP first", () => {
    for (const { name, handleList, handleNames, roles } of commandList) {
      expect([name, handleList.length <= 3, handleNames.length]).toEqual([name, true, handleList.length]);
      expect([name, handleList.slice(0, roles.length).map(({ role }) => role)]).toEqual([name, roles]);
      expect([name, roles.slice(1).filter((role) => role !== "user")]).toEqual([name, []]);
    }
    const of = (role: string) => commandList.filter(({ roles }) => roles[0] === role).map(({ name }) => name);
    expect(of("dup")).toEqual(["Duplicate"]);
    expect(of("admin")).toEqual([
      "NV_UndefineSpaceSpecial",
      "NV_ChangeAuth",
      "ActivateCredential",
      "Certify",
      "ObjectChangeAuth",
      "CertifyX509",
    ]);
  });

  it("lets sessions encrypt a first parameter that is a TPM2B, and no other", () => {
    const sized = (name: CommandName) => {
      const { firstParameterSized, firstResponseSized } = commandOf(commands[name].code)!;
      return [firstParameterSized, firstResponseSized];
    };
    expect(sized("Create")).toEqual([true, true]);
    expect(sized("Unseal")).toEqual([false, true]);
    expect(sized("GetRandom")).toEqual([false, true]);
    expect(sized("HierarchyChangeAuth")).toEqual([true, false]);
    expect(sized("VerifySignature")).toEqual([true, false]);
    expect(sized("PCR_Extend")).toEqual([false, false]);
    expect(sized("Clear")).toEqual([false, false]);
  });

  it("lets no session of any kind go with these", () => {
    const names = commandList.filter(({ noSessions }) => noSessions).map(({ name }) => name);
    expect(names).toEqual(["Startup", "ContextLoad", "ContextSave", "FlushContext"]);
  });

  it("needs physical presence for PP_Commands only, and may for commands of the platform", () => {
    const required = commandList.filter(({ physicalPresence }) => physicalPresence === true);
    expect(required.map(({ name }) => name)).toEqual(["PP_Commands"]);
    for (const row of commandList.filter(({ physicalPresence }) => physicalPresence !== undefined))
      expect([row.name, row.roles.includes("user")]).toEqual([row.name, true]);
    expect(commands.NV_Write.physicalPresence).toBeUndefined();
  });

  it("blocks in read-only mode nothing that ends it, starts the TPM or only looks", () => {
    for (const name of [
      "ReadOnlyControl",
      "Startup",
      "Shutdown",
      "GetCapability",
      "PCR_Read",
      "NV_Read",
    ] as const)
      expect([name, commands[name].readOnlyBlocked]).toEqual([name, false]);
    for (const name of ["Clear", "NV_DefineSpace", "EvictControl", "CreatePrimary"] as const)
      expect([name, commands[name].readOnlyBlocked]).toEqual([name, true]);
  });
});

describe("TPMA_CC", () => {
  it.each<[CommandName, number]>([
    ["NV_UndefineSpaceSpecial", 0x0440_011f],
    ["EvictControl", 0x0440_0120],
    ["HierarchyControl", 0x02c0_0121],
    ["Clear", 0x02c0_0126],
    ["HierarchyChangeAuth", 0x0240_0129],
    ["CreatePrimary", 0x1200_0131],
    ["SequenceComplete", 0x0300_013e],
    ["Startup", 0x0040_0144],
    ["PolicyNV", 0x0600_0149],
    ["Create", 0x0200_0153],
    ["Load", 0x1200_0157],
    ["ContextLoad", 0x1000_0161],
    ["FlushContext", 0x0000_0165],
    ["StartAuthSession", 0x1400_0176],
    ["GetRandom", 0x0000_017b],
    ["PCR_Extend", 0x0240_0182],
    ["EventSequenceComplete", 0x0540_0185],
  ])("of %s is what TPM in the field tell", (name, attributes) => {
    expect(commandAttributes(commands[name])).toBe(attributes);
  });

  it("has in its low bits the code, and no reserved bit, for every command", () => {
    for (const row of commandList) {
      const attributes = commandAttributes(row);
      expect([row.name, attributes & 0xffff, attributes & 0xe03f_0000]).toEqual([row.name, row.code, 0]);
    }
  });
});
