/** Numbers, times and sizes as people read them; every number has its unit. */

const trim = (value: number, digits: number): string => String(Number(value.toPrecision(digits)));

/** 0.000032 → "32 µs", 0.004 → "4 ms", 2.5 → "2.5 s", 3600 → "3600 s". */
export function exposure(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.001) return `${trim(seconds * 1e6, 3)} µs`;
  if (seconds < 1) return `${trim(seconds * 1e3, 3)} ms`;
  return `${trim(seconds, 4)} s`;
}

/** Seconds from "2.5", "2.5 s", "250 ms", "32us", "2 min", "1/250"; null when it is none of these. */
export function parseExposure(text: string): number | null {
  const match = /^(\d+(?:[.,]\d*)?|[.,]\d+)(?:\s*\/\s*(\d+(?:[.,]\d*)?))?\s*(s|sec|ms|µs|μs|us|m|min|h)?$/i.exec(text.trim());
  if (!match) return null;
  const number = (part: string): number => Number(part.replace(",", "."));
  const value = number(match[1]!) / (match[2] ? number(match[2]) : 1);
  const unit = match[3]?.toLowerCase() ?? "s";
  const scale = { s: 1, sec: 1, ms: 1e-3, m: 60, min: 60, h: 3600 }[unit] ?? 1e-6;
  const seconds = Number((value * scale).toPrecision(12));
  return Number.isFinite(seconds) ? seconds : null;
}

export function parseNumber(text: string): number | null {
  const clean = text.trim().replace(",", ".");
  return /^\d+(\.\d*)?$|^\.\d+$/.test(clean) ? Number(clean) : null;
}

/** A span: "0.3 s", "12 s", "4 min 5 s", "3 h 20 min", "2 days 4 h". Never rounds up past the next unit. */
export function span(seconds: number): string {
  const s = Math.max(0, seconds);
  if (s < 9.95) return `${s.toFixed(1)} s`;
  const whole = Math.round(s);
  if (whole < 60) return `${whole} s`;
  const pair = (big: number, bigName: string, small: number, smallName: string): string =>
    small ? `${big} ${bigName} ${small} ${smallName}` : `${big} ${bigName}`;
  if (whole < 3600) return pair(Math.floor(whole / 60), "min", whole % 60, "s");
  const minutes = Math.floor(whole / 60);
  if (minutes < 1440) return pair(Math.floor(minutes / 60), "h", minutes % 60, "min");
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  return pair(days, days === 1 ? "day" : "days", hours % 24, "h");
}

/** Whole seconds for countdowns; what is left is never announced as 0 before it is over. */
export const countdown = (seconds: number): string => (seconds <= 0 ? "now" : `in ${span(Math.ceil(seconds)).replace(".0 s", " s")}`);

const two = (n: number): string => String(n).padStart(2, "0");

export type Zone = "utc" | "local";

/** "23:15:02 UTC" or "00:15:02 local". */
export function clock(when: Date, zone: Zone): string {
  return zone === "utc"
    ? `${two(when.getUTCHours())}:${two(when.getUTCMinutes())}:${two(when.getUTCSeconds())} UTC`
    : `${two(when.getHours())}:${two(when.getMinutes())}:${two(when.getSeconds())} local`;
}

/** "2026-11-21 23:15:02 UTC". */
export function dateTime(when: Date, zone: Zone): string {
  const day =
    zone === "utc"
      ? [when.getUTCFullYear(), two(when.getUTCMonth() + 1), two(when.getUTCDate())]
      : [when.getFullYear(), two(when.getMonth() + 1), two(when.getDate())];
  return `${day.join("-")} ${clock(when, zone)}`;
}

export function bytes(count: number): string {
  if (count < 1000) return `${count} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = count;
  let unit = "";
  for (unit of units) {
    value /= 1000;
    if (value < 999.5) break;
  }
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}

export const temperature = (celsius: number): string => `${celsius.toFixed(1).replace("-", "−")} °C`;

export const fps = (rate: number): string => `${rate < 9.95 ? rate.toFixed(1) : Math.round(rate)} fps`;

/** A DSLR has an ISO, everything else a gain. */
export const gainName = (driver: string): string => (driver === "gphoto" ? "ISO" : "gain");

export const gain = (value: number, driver: string): string => `${gainName(driver)} ${trim(value, 5)}`;

export const capitalised = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
