import { MeasurementError } from "../measurement-error.ts";

/*
 * What CPUID leaf 1 EAX of a vCPU holds: its family, model and stepping. KVM leaves it in EDX of a vCPU at reset, and EDX is in the VMSA,
 * so the model of the vCPU counts in the launch digest.
 */

/** QEMU's processor models for SEV guests: family, model, stepping. Versions of a model do not differ in these. */
const models = {
  EPYC: [23, 1, 2],
  "EPYC-IBPB": [23, 1, 2],
  "EPYC-Rome": [23, 49, 0],
  "EPYC-Milan": [25, 1, 1],
  "EPYC-Genoa": [25, 17, 0],
  "EPYC-Turin": [26, 0, 0],
} as const;

export type VcpuModel = keyof typeof models;
export const vcpuModels = Object.keys(models) as readonly VcpuModel[];

/** CPUID signature of a family, model and stepping (AMD 25481, CPUID Fn0000_0001_EAX). Throws MeasurementError `bad-argument` out of range. */
export function cpuidSignature(family: number, model: number, stepping: number): number {
  const fits = (value: number, most: number) => Number.isInteger(value) && value >= 0 && value <= most;
  if (!fits(family, 0xf + 0xff) || !fits(model, 0xff) || !fits(stepping, 0xf))
    throw new MeasurementError(
      "bad-argument",
      `no processor has family ${family}, model ${model}, stepping ${stepping}`,
    );
  const extended = Math.max(0, family - 0xf);
  return (
    ((extended << 20) |
      ((model >> 4) << 16) |
      (Math.min(family, 0xf) << 8) |
      ((model & 0xf) << 4) |
      stepping) >>>
    0
  );
}

/** Signature of one of QEMU's models by its name, with or without a version ("EPYC-v4"). Throws MeasurementError `bad-argument`. */
export function vcpuSignature(name: string): number {
  const model = name.replace(/-v\d+$/, "");
  if (!Object.hasOwn(models, model))
    throw new MeasurementError("bad-argument", `"${name}" is none of ${vcpuModels.join(", ")}`);
  const [family, number, stepping] = models[model as VcpuModel];
  return cpuidSignature(family, number, stepping);
}
