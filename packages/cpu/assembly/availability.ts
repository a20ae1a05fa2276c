import { CR0, CR4, X87_CONTROL, X87_STATUS } from "./layout";
import { fault, invalidOpcode, MF, NM } from "./fault";

/*
 * Which of the register files may be used now: the checks that every x87, MMX and SSE instruction makes before
 * anything else. CR0.EM means "there is no x87", CR0.TS "the registers belong to another task": the kernel
 * is called to change that. SDM volume 3, 2.5 (CR0), 14.1 and AMD64 volume 2, 11.3.
 */

const CR0_MP: u32 = 2, CR0_EM: u32 = 4, CR0_TS: u32 = 8;
const CR4_OSFXSR: u32 = 0x200;
const X87_SUMMARY: u32 = 0x80;

/** Every SSE instruction: #UD with CR0.EM or without CR4.OSFXSR, else #NM with CR0.TS. */
@inline export function requireSse(): void {
  if ((load<u32>(CR0) & (CR0_EM | CR0_TS)) | (~load<u32>(CR4) & CR4_OSFXSR)) sseUnavailable();
}

function sseUnavailable(): void {
  if ((load<u32>(CR0) & CR0_EM) | (~load<u32>(CR4) & CR4_OSFXSR)) invalidOpcode();
  fault(NM, 0);
}

/** An x87 instruction that does not wait for earlier exceptions (FNxxx, FXSAVE): #NM with CR0.EM or CR0.TS. */
@inline export function requireX87(): void {
  if (load<u32>(CR0) & (CR0_EM | CR0_TS)) fault(NM, 0);
}

/**
 * #MF when an earlier x87 instruction left an unmasked exception. CR0.NE = 0 asks for the FERR#/IRQ 13 protocol
 * of the AT instead; this machine has no FERR# wire, so #MF is raised then too.
 */
@inline export function requireNoX87Exception(): void {
  if (load<u16>(X87_STATUS) & X87_SUMMARY) fault(MF, 0);
}

/** Every MMX instruction: #UD with CR0.EM, #NM with CR0.TS, #MF with an x87 exception waiting. */
@inline export function requireMmx(): void {
  const cr0 = load<u32>(CR0);
  if (cr0 & (CR0_EM | CR0_TS)) {
    if (cr0 & CR0_EM) invalidOpcode();
    fault(NM, 0);
  }
  requireNoX87Exception();
}

/** FWAIT: #NM only when both CR0.TS and CR0.MP are set; CR0.EM does not matter. */
@inline export function requireWait(): void {
  if ((load<u32>(CR0) & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS)) fault(NM, 0);
  requireNoX87Exception();
}

/** Derives ES and B (status bits 7 and 15) from the exception flags and the masks; called whenever either was loaded. */
export function summarizeX87(): void {
  const status = load<u16>(X87_STATUS) & 0x7f7f;
  const pending = status & ~load<u16>(X87_CONTROL) & 0x3f;
  store<u16>(X87_STATUS, pending ? status | 0x8080 : status);
}
