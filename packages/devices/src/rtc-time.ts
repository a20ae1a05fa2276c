import { Cmos, RegisterB } from "./rtc-registers.ts";

/*
 * How the RTC writes a moment into its registers: seconds since 1970-01-01 UTC on one side, BCD or binary bytes in 12 or 24
 * hours on the other. Bytes that are no time of any day count on: the 32nd of a month is the 1st of the next.
 */

const secondsPerDay = 86_400;

/** `value` 0 to 99 as register B's format wants it. */
export function encode(value: number, format: number): number {
  return (format & RegisterB.binary) !== 0 ? value : (Math.floor(value / 10) << 4) | (value % 10);
}

/** Digits above 9 count with their weight. */
function decode(byte: number, format: number): number {
  return (format & RegisterB.binary) !== 0 ? byte : (byte >> 4) * 10 + (byte & 15);
}

/** 12-hour mode runs 12, 1, ... 11, and tells PM by bit 7. */
export function encodeHour(hour: number, format: number): number {
  if ((format & RegisterB.hours24) !== 0) return encode(hour, format);
  return encode(hour % 12 === 0 ? 12 : hour % 12, format) | (hour >= 12 ? 0x80 : 0);
}

function decodeHour(byte: number, format: number): number {
  if ((format & RegisterB.hours24) !== 0) return decode(byte, format);
  return (decode(byte & 0x7f, format) % 12) + ((byte & 0x80) !== 0 ? 12 : 0);
}

/** Writes the moment `epoch` into the time and calendar bytes of `ram`. `weekdayShift`, 0 to 6, is added to the day of week. */
export function writeTime(ram: Uint8Array, epoch: number, format: number, weekdayShift: number): void {
  const date = new Date(epoch * 1000);
  const year = date.getUTCFullYear();
  ram[Cmos.seconds] = encode(date.getUTCSeconds(), format);
  ram[Cmos.minutes] = encode(date.getUTCMinutes(), format);
  ram[Cmos.hours] = encodeHour(date.getUTCHours(), format);
  ram[Cmos.weekday] = encode(((date.getUTCDay() + weekdayShift) % 7) + 1, format);
  ram[Cmos.day] = encode(date.getUTCDate(), format);
  ram[Cmos.month] = encode(date.getUTCMonth() + 1, format);
  ram[Cmos.year] = encode(modulo(year, 100), format);
  ram[Cmos.century] = encode(modulo(Math.floor(year / 100), 100), format);
}

/** The moment that the time and calendar bytes of `ram` mean, and how far their day of week is off the calendar's. */
export function readTime(ram: Uint8Array, format: number): { epoch: number; weekdayShift: number } {
  const field = (at: number): number => decode(ram[at]!, format);
  const date = new Date(0);
  date.setUTCFullYear(field(Cmos.century) * 100 + field(Cmos.year), field(Cmos.month) - 1, field(Cmos.day));
  date.setUTCHours(decodeHour(ram[Cmos.hours]!, format), field(Cmos.minutes), field(Cmos.seconds));
  return {
    epoch: Math.floor(date.getTime() / 1000),
    weekdayShift: modulo(field(Cmos.weekday) - 1 - date.getUTCDay(), 7),
  };
}

/**
 * The first second after `epoch` at which the alarm bytes of `ram` match, Infinity if they never do. An alarm byte from 0xC0
 * on matches everything.
 */
export function nextAlarm(ram: Uint8Array, epoch: number, format: number): number {
  const matches = (alarm: number, encoded: number): boolean => alarm >= 0xc0 || alarm === encoded;
  const listed = (count: number, at: number, write: (value: number, format: number) => number): number[] =>
    Array.from({ length: count }, (_, value) => value).filter((value) =>
      matches(ram[at]!, write(value, format)),
    );
  const hours = listed(24, Cmos.hoursAlarm, encodeHour);
  const minutes = listed(60, Cmos.minutesAlarm, encode);
  const seconds = listed(60, Cmos.secondsAlarm, encode);
  const [hour, minute, second] = [hours[0], minutes[0], seconds[0]];
  if (hour === undefined || minute === undefined || second === undefined) return Number.POSITIVE_INFINITY;

  const start = epoch + 1;
  const midnight = Math.floor(start / secondsPerDay) * secondsPerDay;
  const earliest = start - midnight;
  // Later today, in the same minute, the same hour, or another one; otherwise the first match of tomorrow.
  for (const h of hours) {
    if (h < Math.floor(earliest / 3600)) continue;
    for (const m of minutes) {
      if (h * 3600 + m * 60 + 59 < earliest) continue;
      for (const s of seconds) {
        const at = h * 3600 + m * 60 + s;
        if (at >= earliest) return midnight + at;
      }
    }
  }
  return midnight + secondsPerDay + hour * 3600 + minute * 60 + second;
}

function modulo(value: number, divisor: number): number {
  return ((value % divisor) + divisor) % divisor;
}
