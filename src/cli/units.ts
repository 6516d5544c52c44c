/** Numbers for people. */

import { UserError } from "../errors.js";

/** A count of bytes. */
export function sizeText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const unit = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  return `${(bytes / 1024 ** unit).toFixed(unit === 0 ? 0 : 1)} ${units[unit]}`;
}

/** A time of microseconds to seconds; "-" for none. */
export function latencyText(nanos: number): string {
  if (Number.isNaN(nanos)) return "-";
  if (nanos < 1e6) return `${Math.round(nanos / 1e3)} us`;
  if (nanos < 1e9) return `${(nanos / 1e6).toFixed(nanos < 1e7 ? 1 : 0)} ms`;
  return `${(nanos / 1e9).toFixed(1)} s`;
}

/** A time of seconds to days, in its two largest units. */
export function durationText(seconds: number): string {
  const units: [string, number][] = [
    ["d", 86_400],
    ["h", 3600],
    ["min", 60],
    ["s", 1],
  ];
  const whole = Math.max(0, Math.round(seconds));
  const first = units.findIndex(([, length]) => whole >= length);
  if (first < 0) return "0 s";
  let rest = whole;
  return units
    .slice(first, first + 2)
    .flatMap(([name, length]) => {
      const count = Math.floor(rest / length);
      rest -= count * length;
      return count === 0 ? [] : [`${count} ${name}`];
    })
    .join(" ");
}

export function percentText(share: number): string {
  return Number.isNaN(share) ? "-" : `${(share * 100).toFixed(1)} %`;
}

/** Seconds from "2", "0.5", "2s", "500ms" or "1m". Throws UserError (Usage). */
export function parseInterval(text: string, name: string): number {
  const match = /^(\d{1,6}(?:\.\d{1,3})?)(ms|s|m|)$/.exec(text);
  const scale = { ms: 0.001, s: 1, m: 60, "": 1 }[match?.[2] ?? ""] ?? 1;
  const seconds = Number(match?.[1] ?? Number.NaN) * scale;
  if (!(seconds >= 0.1 && seconds <= 86_400)) {
    throw new UserError(
      "Usage",
      `bad --${name} "${text}"`,
      "give seconds from 0.1 to 86400, such as 2 or 500ms",
    );
  }
  return seconds;
}

/** Bytes from "50M", with K, M or G for powers of 1024. Throws UserError (Usage). */
export function parseSize(text: string, name: string): number {
  const match = /^(\d{1,13})([KMG]?)$/i.exec(text);
  const power = ["", "K", "M", "G"].indexOf((match?.[2] ?? "").toUpperCase());
  const bytes = Number(match?.[1] ?? Number.NaN) * 1024 ** power;
  if (!(bytes >= 0 && bytes <= 1024 ** 4)) {
    throw new UserError("Usage", `bad --${name} "${text}"`, "give bytes, or a number with K, M or G");
  }
  return bytes;
}
