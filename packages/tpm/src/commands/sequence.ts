import { Alg, ofHandle, Rc, Rh, TpmError } from "@entresol/tpm-types";
import type { Handlers } from "../command.ts";
import type { Engine } from "../engine.ts";
import { sequenceAt } from "../entities.ts";
import { selectMac } from "../message-authentication.ts";
import { allocateSlot, flushObject, requireFreeSlot } from "../objects.ts";
import { extendPcr, requireExtendable } from "../pcr.ts";
import {
  cmacSequence,
  completeEvent,
  completeSequence,
  eventSequence,
  hashSequence,
  hmacSequence,
  updateSequence,
} from "../sequences.ts";
import type { SequenceState } from "../state.ts";
import { hashCheckTicket, nullTicket, ticketTag } from "../tickets.ts";

/* Sequences of hashes, MACs and events (Part 3, clause 17). */

/** The sequence of a handle; one of another kind, or an object, is TPM_RC_MODE of the handle's place. */
function sequenceOf(
  engine: Engine,
  handle: number,
  place: number,
  accepts: (kind: SequenceState["kind"]) => boolean,
): SequenceState {
  const sequence = sequenceAt(engine, handle);
  if (sequence === undefined || !accepts(sequence.kind)) throw new TpmError(ofHandle(Rc.MODE, place));
  return sequence;
}

export const sequenceCommands = {
  HMAC_Start(engine, { handles: { handle }, parameters: { auth, hashAlg } }) {
    const { kind, alg, key } = selectMac(engine, handle, hashAlg);
    const sequence = kind === "hmac" ? hmacSequence(engine, auth, alg, key) : cmacSequence(auth, alg, key);
    return { responseHandle: allocateSlot(engine, { kind: "sequence", sequence }) };
  },

  /** Without a hash: an event sequence, of all that have PCR banks. */
  HashSequenceStart(engine, { parameters: { auth, hashAlg } }) {
    requireFreeSlot(engine);
    const sequence = hashAlg === Alg.NULL ? eventSequence(engine, auth) : hashSequence(engine, auth, hashAlg);
    return { responseHandle: allocateSlot(engine, { kind: "sequence", sequence }) };
  },

  SequenceUpdate(engine, { handles: { sequenceHandle }, parameters: { buffer } }) {
    updateSequence(
      engine,
      sequenceOf(engine, sequenceHandle, 1, () => true),
      buffer,
    );
    return {};
  },

  SequenceComplete(engine, { handles: { sequenceHandle }, parameters: { buffer, hierarchy } }) {
    const sequence = sequenceOf(engine, sequenceHandle, 1, (kind) => kind !== "event");
    const result = completeSequence(engine, sequence, buffer);
    const validation = sequence.ticketSafe
      ? hashCheckTicket(engine, hierarchy, sequence.hashes[0]!.alg, result)
      : nullTicket(ticketTag.hashCheck);
    flushObject(engine, sequenceHandle);
    return { result, validation };
  },

  EventSequenceComplete(engine, { handles: { pcrHandle, sequenceHandle }, parameters: { buffer } }) {
    const sequence = sequenceOf(engine, sequenceHandle, 2, (kind) => kind === "event");
    if (pcrHandle !== Rh.NULL) requireExtendable(engine, pcrHandle);
    const results = completeEvent(engine, sequence, buffer);
    if (pcrHandle !== Rh.NULL) extendPcr(engine, pcrHandle, results);
    flushObject(engine, sequenceHandle);
    return { results };
  },
} satisfies Handlers;
