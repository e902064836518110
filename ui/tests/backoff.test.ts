import { describe, expect, test } from "vitest";
import { Backoff, judgeClose } from "../src/lib/backoff";

describe("the wait before the next attempt", () => {
  test("doubles from half a second and stays at five", () => {
    const backoff = new Backoff(500, 5000, () => 0);
    expect([1, 2, 3, 4, 5, 6].map(() => backoff.next())).toEqual([500, 1000, 2000, 4000, 5000, 5000]);
  });

  test("starts small again after a success", () => {
    const backoff = new Backoff(500, 5000, () => 0);
    backoff.next();
    backoff.next();
    backoff.reset();
    expect(backoff.next()).toBe(500);
  });

  test("is spread by at most a fifth", () => {
    expect(new Backoff(500, 5000, () => 1).next()).toBe(400);
  });
});

describe("the end of a socket", () => {
  test("full: waits a while and says the station's own words", () => {
    expect(judgeClose(1013, "5 of 5 viewers are watching")).toEqual({ retry: true, leastMs: 3000, reason: "5 of 5 viewers are watching" });
  });

  test.each([4401, 4403, 4404])("%i: does not knock again", (code) => {
    const verdict = judgeClose(code, "");
    expect(verdict.retry).toBe(false);
    expect(verdict.reason).not.toBe("");
  });

  test("a broken connection: comes back at once", () => {
    expect(judgeClose(1006, "")).toEqual({ retry: true, leastMs: 0, reason: "" });
  });
});
