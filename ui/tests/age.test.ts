import { describe, expect, test } from "vitest";
import { ArrivalClock, isStale } from "../src/lib/age";

describe("a picture is called live", () => {
  test("for one second beyond its exposure after the shutter closed", () => {
    expect(isStale(1.9, 0.5)).toBe(false);
    expect(isStale(2.1, 0.5)).toBe(true);
  });

  test("while the next frame of a 30 s exposure cannot be there yet", () => {
    expect(isStale(30.4, 30)).toBe(false);
    expect(isStale(60.5, 30)).toBe(false);
    expect(isStale(61.5, 30)).toBe(true);
  });

  test("for one second when its exposure is not known", () => {
    expect(isStale(0.9, null)).toBe(false);
    expect(isStale(1.1, null)).toBe(true);
  });
});

describe("the time a frame spent on the way", () => {
  test("is nothing for frames that arrive as fast as the fastest, whatever the two clocks say", () => {
    const clock = new ArrivalClock();
    clock.hello(1_000_000, 500);
    expect(clock.excess(1_001_000, 1500)).toBe(0);
    expect(clock.excess(1_002_000, 2490)).toBe(0);
  });

  test("is added when a slow link held it back", () => {
    const clock = new ArrivalClock();
    clock.hello(1_000_000, 500);
    expect(clock.excess(1_001_000, 5500)).toBe(4000);
  });

  test("is not guessed from a time that cannot be read", () => {
    const clock = new ArrivalClock();
    clock.hello(Number.NaN, 500);
    expect(clock.excess(Number.NaN, 600)).toBe(0);
    expect(clock.excess(1000, 600)).toBe(0);
  });
});
