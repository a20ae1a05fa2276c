import { MalformedError, Reader } from "@entresol/wire";
import {
  type EventDigest,
  type EventLog,
  type LogAlgorithm,
  type LoggedEvent,
  MOST_ALGORITHMS,
  MOST_EVENTS,
  SPECIFICATION_SIGNATURE,
  type SpecificationId,
  STARTUP_LOCALITY_SIGNATURE,
} from "./event-log.ts";
import { digestSizes, EventType } from "./event-types.ts";

const SPEC = "TCG PFP 1.06, 10 event logging";
const SHA1 = { id: 0x0004, digestSize: 20 } as const;
const SIGNATURE_BYTES = 16;

function startsWith(data: Uint8Array, text: string): boolean {
  if (data.length < text.length) return false;
  for (let i = 0; i < text.length; i++) if (data[i] !== text.charCodeAt(i)) return false;
  return true;
}

function isPadding(bytes: Uint8Array, from: number): boolean {
  const filler = bytes[from];
  if (filler !== 0xff && filler !== 0) return false;
  for (let i = from + 1; i < bytes.length; i++) if (bytes[i] !== filler) return false;
  return true;
}

/** TCG_PCClientPCREvent: index, type, one SHA-1 digest, size, data. */
function legacyEvent(reader: Reader): LoggedEvent {
  const offset = reader.offset;
  const index = reader.u32();
  const type = reader.u32();
  const digest = reader.view(SHA1.digestSize);
  const size = reader.u32();
  const dataOffset = reader.offset;
  const data = reader.view(size);
  return {
    index,
    type,
    digests: [{ algorithm: SHA1.id, digest }],
    data,
    offset,
    length: reader.offset - offset,
    dataOffset,
  };
}

function specificationId(data: Uint8Array, at: number): SpecificationId {
  const reader = new Reader(data, "TCG PFP 1.06, 10.4.5.1 TCG_EfiSpecIdEvent");
  const wrong = (offset: number, message: string): never => {
    throw new MalformedError("bad-value", at + offset, "TCG PFP 1.06, 10.4.5.1 TCG_EfiSpecIdEvent", message);
  };
  reader.seek(SIGNATURE_BYTES);
  const platformClass = reader.u32();
  const minor = reader.u8();
  const major = reader.u8();
  const errata = reader.u8();
  const uintnSize = reader.u8();
  const countAt = reader.offset;
  const count = reader.u32();
  if (count === 0 || count > MOST_ALGORITHMS)
    wrong(countAt, `${count} algorithms, 1 to ${MOST_ALGORITHMS} are possible`);
  const algorithms: LogAlgorithm[] = [];
  for (let i = 0; i < count; i++) {
    const offset = reader.offset;
    const id = reader.u16();
    const digestSize = reader.u16();
    const known = digestSizes.get(id);
    if (known !== undefined && known !== digestSize)
      wrong(offset + 2, `digest size ${digestSize} of algorithm 0x${id.toString(16)}, which has ${known}`);
    if (digestSize === 0 || digestSize > 64)
      wrong(offset + 2, `digest size ${digestSize}, 1 to 64 are possible`);
    if (algorithms.some((other) => other.id === id))
      wrong(offset, `algorithm 0x${id.toString(16)} listed twice`);
    algorithms.push({ id, digestSize });
  }
  const vendorInfo = reader.take(reader.u8());
  if (reader.remaining !== 0) wrong(reader.offset, `${reader.remaining} bytes after the vendor information`);
  return { platformClass, major, minor, errata, uintnSize, algorithms, vendorInfo };
}

/** TCG_PCR_EVENT2: index, type, a digest for each algorithm of the log, size, data. */
function agileEvent(reader: Reader, algorithms: readonly LogAlgorithm[]): LoggedEvent {
  const offset = reader.offset;
  const index = reader.u32();
  const type = reader.u32();
  const countAt = reader.offset;
  const count = reader.u32();
  if (count !== algorithms.length)
    throw new MalformedError(
      "bad-value",
      countAt,
      "TCG PFP 1.06, 10.2.2 TCG_PCR_EVENT2",
      `${count} digests where the log has ${algorithms.length} algorithms`,
    );
  const digests: EventDigest[] = [];
  for (let i = 0; i < count; i++) {
    const at = reader.offset;
    const id = reader.u16();
    const known = algorithms.find((algorithm) => algorithm.id === id);
    if (known === undefined || digests.some(({ algorithm }) => algorithm === id))
      throw new MalformedError(
        "bad-value",
        at,
        "TCG PFP 1.06, 10.2.2 TPML_DIGEST_VALUES",
        `algorithm 0x${id.toString(16)} is ${known === undefined ? "not one of the log's" : "there twice"}`,
      );
    digests.push({ algorithm: id, digest: reader.view(known.digestSize) });
  }
  const size = reader.u32();
  const dataOffset = reader.offset;
  const data = reader.view(size);
  return { index, type, digests, data, offset, length: reader.offset - offset, dataOffset };
}

/**
 * Reads a log of firmware: crypto-agile (TPM 2.0 and CCEL) or of SHA-1 alone. Digests and data are views of `bytes`.
 * The log ends with the bytes, or where nothing but 0xff or nothing but zeros follows, as areas of a fixed size are filled.
 * Throws `MalformedError`: `truncated` for a length that reaches past the end, `bad-value` for what the profile does not allow.
 */
export function parseEventLog(bytes: Uint8Array): EventLog {
  const reader = new Reader(bytes, SPEC);
  const first = legacyEvent(reader);
  const agile = first.type === EventType.EV_NO_ACTION && startsWith(first.data, SPECIFICATION_SIGNATURE);
  const specification = agile ? specificationId(first.data, first.dataOffset) : undefined;
  const algorithms = specification?.algorithms ?? [SHA1];
  // "Spec ID Event00" heads the logs of TPM 1.2, whose events are all of the first's form; it measures nothing.
  const events: LoggedEvent[] = agile || startsWith(first.data, "Spec ID Event") ? [] : [first];
  let startupLocality = 0;
  while (reader.remaining > 0 && !isPadding(bytes, reader.offset)) {
    if (events.length === MOST_EVENTS)
      throw new MalformedError("out-of-range", reader.offset, SPEC, `more than ${MOST_EVENTS} events`);
    const event = agile ? agileEvent(reader, algorithms) : legacyEvent(reader);
    if (event.type === EventType.EV_NO_ACTION && startsWith(event.data, STARTUP_LOCALITY_SIGNATURE))
      startupLocality = localityOf(event, events);
    events.push(event);
  }
  return {
    format: agile ? "crypto-agile" : "sha1",
    specification,
    algorithms,
    events,
    startupLocality,
    length: reader.offset,
  };
}

function localityOf(event: LoggedEvent, before: readonly LoggedEvent[]): number {
  const clause = "TCG PFP 1.06, 10.4.5.3 StartupLocality";
  const locality = event.data[STARTUP_LOCALITY_SIGNATURE.length];
  if (event.data.length !== STARTUP_LOCALITY_SIGNATURE.length + 1 || locality === undefined)
    throw new MalformedError(
      "bad-value",
      event.dataOffset,
      clause,
      `${event.data.length} bytes, 17 are right`,
    );
  if (locality !== 0 && locality !== 3 && locality !== 4)
    throw new MalformedError("bad-value", event.dataOffset + 16, clause, `locality ${locality}`);
  // Said after PCR 0 was extended, it would change what was measured already.
  if (event.index !== 0 || before.some(({ index, type }) => index === 0 && type !== EventType.EV_NO_ACTION))
    throw new MalformedError(
      "bad-value",
      event.offset,
      clause,
      "not before the first measurement into PCR 0",
    );
  return locality;
}
