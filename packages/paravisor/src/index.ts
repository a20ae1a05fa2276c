export {
  answerCpuid,
  type CpuidMachine,
  featuresExtendedEcx,
  featuresExtendedEdx,
  featuresLeaf1Ecx,
  featuresLeaf1Edx,
  featuresLeaf7Ebx,
  featuresLeaf7Ecx,
  HYPERVISOR_VENDOR,
} from "./cpuid-policy.ts";
export { ExitDispatcher, type ExitKind, exitKinds } from "./exit-dispatcher.ts";
export type { InterruptTargets } from "./kvm-hypercalls.ts";
export { MsrFile, type MsrRule, msrRules } from "./msr-policy.ts";
