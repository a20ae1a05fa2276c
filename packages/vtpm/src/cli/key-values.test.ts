import { describe, expect, it } from "vitest";
import { controlOption, serverOption } from "./channel-options.ts";
import { KeyValues } from "./key-values.ts";

describe("sub-options", () => {
  it.each([
    ["type=tcp,port=2321", { kind: "tcp", port: 2321, address: "127.0.0.1" }],
    ["port=0,bindaddr=::1", { kind: "tcp", port: 0, address: "::1" }],
    ["type=tcp,port=1,bindaddr=fe80::1,ifname=eth0", { kind: "tcp", port: 1, address: "fe80::1%eth0" }],
    ["type=unixio,path=/run/a=b", { kind: "unix", path: "/run/a=b", mode: 0o770 }],
    ["type=unixio,path=/x,mode=0600,uid=1,gid=2", { kind: "unix", path: "/x", mode: 0o600, uid: 1, gid: 2 }],
    ["type=unixio,fd=7", { kind: "descriptor", descriptor: 7 }],
    ["type=unixio,clientfd=8", { kind: "connected", descriptor: 8 }],
  ])("--ctrl %s", (text, place) => {
    expect(controlOption(text)).toEqual({ place, terminate: false });
    expect(controlOption(`${text},terminate`)).toEqual({ place, terminate: true });
  });

  it("--server fd= is a connection, with which the service ends", () => {
    expect(serverOption("type=unixio,fd=9")).toEqual({
      place: { kind: "connected", descriptor: 9 },
      oneCommand: false,
      terminate: true,
    });
    expect(serverOption("type=tcp,port=5,disconnect").oneCommand).toBe(true);
  });

  it.each([
    ["type=udp,port=1", "--ctrl has type=udp; it can be tcp, unixio"],
    ["type=tcp,port=65536", "--ctrl has port=65536; it is a number up to 65535"],
    ["type=tcp,port=", '--ctrl needs a value for "port"'],
    ["type=tcp", "--ctrl needs port=, path=, fd= or clientfd="],
    ["type=unixio,path=/x,mode=600", "--ctrl has mode=600; it is octal, such as 0600"],
    ["type=unixio,path=/x,path=/y", '--ctrl has "path" twice'],
    ["fd=1,clientfd=2", "--ctrl takes fd= or clientfd=, not both"],
    ["nonsense", '--ctrl does not know "nonsense"; it takes'],
  ])("--ctrl %s is refused by what is wrong with it", (text, message) => {
    expect(() => controlOption(text)).toThrow(message);
    expect(() => controlOption(text)).toThrow(expect.objectContaining({ status: 2 }));
  });

  it("a flag is a word, true or false", () => {
    const flag = (text: string): boolean => new KeyValues("--log", text, ["truncate"]).flag("truncate");
    expect([flag("truncate"), flag("truncate=true"), flag("truncate=false")]).toEqual([true, true, false]);
    expect(() => flag("truncate=1")).toThrow("true or false");
  });
});
