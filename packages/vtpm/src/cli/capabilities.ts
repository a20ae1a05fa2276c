import { VERSION } from "./version.ts";

/** What `--print-capabilities` prints, in the form in which libvirt and swtpm_setup read it. */
export const capabilities = {
  type: "swtpm",
  features: [
    "tpm-2.0",
    "tpm-send-command-header",
    "flags-opt-startup",
    "flags-opt-disable-auto-shutdown",
    "ctrl-opt-terminate",
    "cmdarg-seccomp",
    "cmdarg-key-fd",
    "cmdarg-pwd-fd",
    "cmdarg-print-states",
    "cmdarg-migration",
    "cmdarg-print-info",
    "nvram-backend-dir",
    "nvram-backend-file",
    "rsa-keysize-1024",
    "rsa-keysize-2048",
    "rsa-keysize-3072",
    "rsa-keysize-4096",
  ],
  version: VERSION,
} as const;
