export { EventLogBuilder } from "./build.ts";
export type {
  EventDigest,
  EventLog,
  LogAlgorithm,
  LoggedEvent,
  MeasuredEvent,
  SpecificationId,
} from "./event-log.ts";
export { digestSizes, EventType, eventTypeName } from "./event-types.ts";
export { parseEventLog } from "./parse.ts";
export { type Extensions, extensions, replay } from "./replay.ts";
