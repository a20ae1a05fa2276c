import type { Handlers } from "../command.ts";
import { attestationCommands, signingCommands } from "./attestation.ts";
import { capabilityCommands } from "./capability.ts";
import { certificateCommands } from "./certify-x509.ts";
import { clockCommands } from "./clock.ts";
import { cryptoServiceCommands } from "./crypto-service.ts";
import { hierarchyCommands } from "./hierarchy.ts";
import { managementCommands } from "./management.ts";
import { nvCommands } from "./nv.ts";
import { objectCommands } from "./objects.ts";
import { pcrCommands } from "./pcr.ts";
import { policyCommands } from "./policy.ts";
import { authorizingPolicyCommands } from "./policy-authorization.ts";
import { comparingPolicyCommands } from "./policy-comparison.ts";
import { nvPolicyCommands } from "./policy-nv.ts";
import { sessionCommands } from "./sessions.ts";
import { startupCommands } from "./startup.ts";

/** Every command that the engine carries out, from the groups beside this file. */
export const handlers: Handlers = {
  ...startupCommands,
  ...capabilityCommands,
  ...pcrCommands,
  ...nvCommands,
  ...sessionCommands,
  ...objectCommands,
  ...cryptoServiceCommands,
  ...policyCommands,
  ...authorizingPolicyCommands,
  ...comparingPolicyCommands,
  ...hierarchyCommands,
  ...managementCommands,
  ...clockCommands,
  ...nvPolicyCommands,
  ...signingCommands,
  ...attestationCommands,
  ...certificateCommands,
};
