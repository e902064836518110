import { describe, expect, test } from "vitest";
import { bytes, clock, countdown, dateTime, exposure, fps, gain, parseExposure, parseNumber, span, temperature } from "../src/lib/format";

test.each([
  [0.000032, "32 µs"],
  [0.0005, "500 µs"],
  [0.004, "4 ms"],
  [0.25, "250 ms"],
  [1, "1 s"],
  [2.5, "2.5 s"],
  [3600, "3600 s"],
  [null, "–"],
])("an exposure of %s reads %s", (seconds, words) => {
  expect(exposure(seconds)).toBe(words);
});

test.each([
  ["2.5", 2.5],
  ["2,5 s", 2.5],
  ["250 ms", 0.25],
  ["32us", 0.000032],
  ["32 µs", 0.000032],
  ["1/250", 0.004],
  ["1/4 s", 0.25],
  ["2 min", 120],
  [".5", 0.5],
])("«%s» is understood as an exposure", (text, seconds) => {
  expect(parseExposure(text)).toBe(seconds);
});

test.each(["", "abc", "-1", "1e9", "5 parsecs", "1/0", "1//2", "NaN", "Infinity"])("«%s» is no exposure", (text) => {
  expect(parseExposure(text)).toBeNull();
});

test("numbers take a comma, and nothing but a number", () => {
  expect(parseNumber("5,6")).toBe(5.6);
  expect(parseNumber(" 100 ")).toBe(100);
  expect(parseNumber("0x10")).toBeNull();
  expect(parseNumber("")).toBeNull();
});

test.each([
  [0.31, "0.3 s"],
  [9.97, "10 s"],
  [12.4, "12 s"],
  [59.6, "1 min"],
  [65, "1 min 5 s"],
  [3599.9, "1 h"],
  [12000, "3 h 20 min"],
  [86400, "1 day"],
  [187200, "2 days 4 h"],
  [-3, "0.0 s"],
])("a span of %s s reads %s", (seconds, words) => {
  expect(span(seconds)).toBe(words);
});

test("a countdown is not over before it is over", () => {
  expect(countdown(3.2)).toBe("in 4 s");
  expect(countdown(0.1)).toBe("in 1 s");
  expect(countdown(0)).toBe("now");
});

describe("times", () => {
  const when = new Date("2026-11-21T23:05:02.900Z");
  test("say that they are UTC", () => {
    expect(clock(when, "utc")).toBe("23:05:02 UTC");
    expect(dateTime(when, "utc")).toBe("2026-11-21 23:05:02 UTC");
  });

  test("say that they are local", () => {
    expect(clock(when, "local")).toMatch(/^\d\d:\d5:02 local$/);
  });
});

test("sizes, temperatures and rates carry their unit", () => {
  expect([999, 1500, 9_321_004, 999_600, 12_300_000_000].map(bytes)).toEqual(["999 B", "1.5 kB", "9.3 MB", "1.0 MB", "12 GB"]);
  expect(temperature(-10)).toBe("−10.0 °C");
  expect([0.2, 29.97].map(fps)).toEqual(["0.2 fps", "30 fps"]);
});

test("a DSLR has an ISO, an astro camera a gain", () => {
  expect(gain(400, "gphoto")).toBe("ISO 400");
  expect(gain(120, "zwo")).toBe("gain 120");
});
