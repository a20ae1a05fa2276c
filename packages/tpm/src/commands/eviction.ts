import { Ht, handleType, ofHandle, ofParameter, Rc, Rh, TpmError } from "@entresol/tpm-types";
import type { Handlers } from "../command.ts";
import { objectOf } from "../objects.ts";

/* Persistent objects (Part 3, 28.5). */

/** First handle of the platform's persistent objects; the owner's are below (Part 2, 7.5). */
const PLATFORM_PERSISTENT = 0x8180_0000;

export const evictionCommands = {
  EvictControl(engine, { handles: { auth, objectHandle }, parameters: { persistentHandle } }) {
    const { permanent } = engine.state;
    const object = objectOf(engine, objectHandle, ofHandle(Rc.ATTRIBUTES, 2));
    const { hierarchy, stClear, sensitive } = object;
    const evicts = handleType(objectHandle) === Ht.PERSISTENT;
    if (hierarchy === Rh.NULL || stClear || sensitive === undefined)
      throw new TpmError(ofHandle(Rc.ATTRIBUTES, 2));
    if (evicts && objectHandle !== persistentHandle) throw new TpmError(ofHandle(Rc.HANDLE, 2));
    const ofPlatform = hierarchy === Rh.PLATFORM;
    if (auth === Rh.PLATFORM) {
      // The platform can evict whatever is there, and keep only its own.
      if (!evicts && !ofPlatform) throw new TpmError(ofHandle(Rc.HIERARCHY, 2));
    } else if (ofPlatform) {
      throw new TpmError(ofHandle(Rc.HIERARCHY, 2));
    }
    if (evicts) {
      permanent.persistent = permanent.persistent.filter(({ handle }) => handle !== objectHandle);
    } else {
      if ((auth === Rh.PLATFORM) !== persistentHandle >= PLATFORM_PERSISTENT)
        throw new TpmError(ofParameter(Rc.RANGE, 1));
      if (permanent.persistent.some(({ handle }) => handle === persistentHandle))
        throw new TpmError(Rc.NV_DEFINED);
      if (permanent.persistent.length >= engine.limits.persistentObjects) throw new TpmError(Rc.NV_SPACE);
      permanent.persistent.push({ handle: persistentHandle, object });
    }
    engine.nvDirty = true;
    return {};
  },
} satisfies Handlers;
