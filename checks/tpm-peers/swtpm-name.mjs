// Our command under the name swtpm, first in PATH, and whoever starts swtpm by that name.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ensureGuest } from "@entresol/vmm";
import { QemuMachine } from "./qemu-machine.mjs";
import { installed, ourCommand, pause, portPair, run, start, temporaryFolder } from "./servers.mjs";

/** An environment in which `swtpm` is ours. */
function renamed(folder) {
  const bin = join(folder, "bin");
  mkdirSync(bin);
  symlinkSync(ourCommand, join(bin, "swtpm"));
  return { ...process.env, PATH: `${bin}:${process.env.PATH}`, TSS2_LOG: "all+NONE" };
}

const inspect = async (state) =>
  JSON.parse(await run([process.execPath, ourCommand, "inspect", "--json", "--tpmstate", `dir=${state}`]));

/** What swtpm_setup reads, with a certificate authority of the folder's own. */
function setupConfiguration(folder) {
  const at = (name) => join(folder, name);
  const lines = [
    `create_certs_tool=${spawnSync("which", ["swtpm_localca"], { encoding: "utf8" }).stdout.trim()}`,
    `create_certs_tool_config=${at("ca.conf")}`,
    `create_certs_tool_options=${at("ca.options")}`,
    "active_pcr_banks=sha256",
  ];
  writeFileSync(at("setup.conf"), `${lines.join("\n")}\n`);
  mkdirSync(at("ca"));
  const keys = { signingkey: "key.pem", issuercert: "certificate.pem", certserial: "serial" };
  const authority = Object.entries(keys).map(([name, file]) => `${name}=${at(join("ca", file))}`);
  writeFileSync(at("ca.conf"), `${[`statedir=${at("ca")}`, ...authority].join("\n")}\n`);
  const options = ["--platform-manufacturer Entresol", "--platform-version 1", "--platform-model check"];
  writeFileSync(at("ca.options"), `${options.join("\n")}\n`);
  return at("setup.conf");
}

export function swtpmNameCases() {
  const without = (...programs) => programs.filter((program) => !installed(program));
  return [
    {
      title: "the name swtpm: what libvirt asks for is told, with every feature of swtpm's",
      without: without("swtpm"),
      async run(expect, keep) {
        const env = renamed(keep(temporaryFolder()).path);
        const ours = JSON.parse(await run(["swtpm", "socket", "--tpm2", "--print-capabilities"], { env }));
        const theirs = JSON.parse(await run(["swtpm", "socket", "--tpm2", "--print-capabilities"]));
        expect("type", ours.type === theirs.type, ours.type);
        const missing = theirs.features.filter((name) => !ours.features.includes(name) && name !== "tpm-1.2");
        expect("features", missing.length === 0, `without ${missing.join(", ")}`);
        // Without --tpm2, as libvirt has it.
        const bare = await run(["swtpm", "socket", "--print-capabilities"], { env });
        expect("without --tpm2", JSON.parse(bare).type === "swtpm", bare);
        const version = await run(["swtpm", "--version"], { env });
        expect("--version", /^TPM emulator version \d+\.\d+\.\d+/.test(version), version);
      },
    },
    {
      title: "the name swtpm: swtpm_setup provisions it, certificates included",
      without: without("swtpm_setup", "swtpm_localca"),
      async run(expect, keep) {
        const { path: folder } = keep(temporaryFolder());
        const env = renamed(folder);
        const state = join(folder, "state");
        mkdirSync(state);
        const said = await run(
          [
            ...["swtpm_setup", "--tpm2", "--tpmstate", state, "--config", setupConfiguration(folder)],
            ...["--ecc", "--create-ek-cert", "--create-platform-cert", "--lock-nvram"],
            ...["--pcr-banks", "sha256,sha384", "--overwrite"],
          ],
          { env },
        );
        expect("its words", said.includes("Successfully authored TPM state"), said);
        const found = JSON.stringify(await inspect(state)).toLowerCase();
        for (const handle of ["81010001", "81010016", "1c00002", "1c00016", "1c08000"])
          expect(`handle ${handle}`, found.includes(handle), found.slice(0, 2000));
        expect("a state of swtpm's", !existsSync(join(state, "tpm2-00.permall")), "swtpm itself made it");
      },
    },
    {
      title: "the name swtpm: started as tpm2-tss does, used by its TCTI",
      without: without("tpm2_getcap"),
      async run(expect, keep) {
        const { path: folder } = keep(temporaryFolder());
        const env = renamed(folder);
        const state = join(folder, "state");
        mkdirSync(state);
        const port = await portPair();
        const service = [
          ...["swtpm", "socket", "--tpm2", "-p", `${port}`, "--ctrl", `type=tcp,port=${port + 1}`],
          ...["--log", "fd=1,level=5", "--flags", "not-need-init", "--tpmstate", `dir=${state}`],
          ...["--locality", "allow-set-locality"],
        ];
        const tpm = keep(start(service, { env }));
        const tcti = `swtpm:host=127.0.0.1,port=${port}`;
        const tool = (name, ...args) => run([name, "-T", tcti, ...args], { env });
        for (let tries = 0; tries < 100 && tpm.status === undefined; tries++) {
          const { status } = spawnSync("tpm2_startup", ["-T", tcti, "-c"], { env, stdio: "ignore" });
          if (status === 0) break;
          await pause(50);
        }
        const properties = await tool("tpm2_getcap", "properties-fixed");
        expect("vendor", /VENDOR_STRING_1:\s+raw: 0x53572020/.test(properties), properties.slice(0, 1000));
        expect(
          "random bytes",
          /^[0-9a-f]{32}$/.test(await tool("tpm2_getrandom", "--hex", "16")),
          tpm.output,
        );
      },
    },
    {
      title: "the name swtpm: started as libvirt does, QEMU boots with it and it ends with QEMU",
      without: without("qemu-system-x86_64"),
      async run(expect, keep) {
        const { path: folder } = keep(temporaryFolder());
        const env = renamed(folder);
        const at = (name) => join(folder, name);
        mkdirSync(at("state"));
        const control = at("tpm.sock");
        await run(
          [
            ...["swtpm", "socket", "--daemon", "--ctrl", `type=unixio,path=${control},mode=0600`],
            ...["--tpmstate", `dir=${at("state")},mode=0600`, "--log", `file=${at("log")}`],
            ...["--terminate", "--tpm2", "--pid", `file=${at("pid")}`],
          ],
          { env },
        );
        const pid = Number(readFileSync(at("pid"), "utf8"));
        const runs = () => existsSync(`/proc/${pid}`);
        keep({ end: () => runs() && process.kill(pid, "SIGKILL") });
        const image = await ensureGuest("debian12");
        const machine = keep(await QemuMachine.start({ folder, image, device: "tpm-crb", control }));
        await machine.ready();
        const register = (await machine.pcrs("sha256")).get(0);
        expect("PCR 0", /[1-9a-f]/.test(register ?? ""), register);
        await machine.end();
        for (let tries = 0; tries < 100 && runs(); tries++) await pause(20);
        expect("its end", !runs(), "it is still there");
        expect("its socket", !existsSync(control), "it is still there");
      },
    },
  ];
}
