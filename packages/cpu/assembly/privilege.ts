import { generalProtection, invalidOpcode } from "./fault";
import { CR4, FLAGS_SYSTEM } from "./layout";
import { CR4_SMAP, CR4_SUPPORTED, CR4_TSD, CR4_UMIP } from "./profile";
import { cpl, protectedMode } from "./segments";


/* The checks that guard system instructions by CPL, IOPL and CR4. */

/** CPL 0, else #GP(0). */
export function supervisor(): void { if (cpl() != 0) generalProtection(); }

/** CLI and STI: CPL <= IOPL. Real mode has CPL 0. */
export function checkIopl(): void { if (cpl() > iopl()) generalProtection(); }
@inline export function iopl(): u32 { return <u32>(load<u64>(FLAGS_SYSTEM) >> 12) & 3; }

/** SGDT, SIDT, SLDT, STR and SMSW outside CPL 0 under CR4.UMIP: #GP(0). */
export function checkUmip(): void { if (cpl() != 0 && (load<u64>(CR4) & CR4_UMIP) != 0) generalProtection(); }
/** LDT and TR do not exist in real mode. */
export function checkSystemSegment(): void {
  if (!protectedMode()) invalidOpcode();
  checkUmip();
}
export function checkTimestamp(): void { if (cpl() != 0 && (load<u64>(CR4) & CR4_TSD) != 0) generalProtection(); }
/** CLAC and STAC: #UD unless SMAP exists and CPL is 0. */
export function checkSmapFlag(): void { if ((CR4_SUPPORTED & CR4_SMAP) == 0 || cpl() != 0) invalidOpcode(); }
