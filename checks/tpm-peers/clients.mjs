// Programs of others that hold their secrets in a TPM. Each has a script beside this file, in clients.

import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { installed, run, servers, startServer, temporaryFolder } from "./servers.mjs";

const [socket, mssim] = servers;
/** `files`: what the client also needs, where it has no program of its own. */
const clients = [
  {
    name: "systemd-cryptenroll",
    script: "cryptenroll.sh",
    server: socket,
    programs: ["systemd-cryptenroll", "cryptsetup"],
  },
  { name: "clevis", script: "clevis.sh", server: socket, programs: ["clevis-encrypt-tpm2"] },
  {
    name: "OpenSSL's provider tpm2-openssl",
    script: "openssl.sh",
    server: socket,
    programs: ["openssl"],
    files: ["/usr/lib/x86_64-linux-gnu/ossl-modules/tpm2.so"],
  },
  { name: "IBM's TSS", script: "ibm.sh", server: socket, programs: ["tsscreateprimary"] },
  { name: "IBM's TSS", script: "ibm.sh", server: mssim, programs: ["tsscreateprimary"], waits: true },
];

export const clientCases = () =>
  clients.map(({ name, script, server, programs, files = [], waits = false }) => ({
    title: `${name}: ${server.name}`,
    waits,
    without: [
      ...[...programs, "tpm2_startup", "xxd"].filter((program) => !installed(program)),
      ...files.filter((path) => !existsSync(path)),
    ],
    async run(_expect, keep) {
      const folder = keep(temporaryFolder());
      const work = join(folder.path, "work");
      mkdirSync(work);
      const tpm = keep(await startServer(server, folder.path));
      await run(["bash", join(import.meta.dirname, "clients", script)], {
        cwd: work,
        env: {
          ...process.env,
          ...{ TPM_KIND: server.kind, TPM2TOOLS_TCTI: tpm.tcti, TPM_CONTROL: `${tpm.port + 1}` },
          TSS2_LOG: "all+NONE",
        },
      });
    },
  }));
