import { describe, expect, test } from "vitest";
import type { Me } from "../src/lib/api";
import { expiry } from "../src/lib/door";

const me = (more: Partial<Me>): Me => ({ claimed: true, user: null, role: null, kind: null, session: null, plain_http: false, session_minutes: 30, ...more });

describe("when the station does not know this browser any more", () => {
  test("and says so when asked: the login, with the reason", () => {
    const { door, renew } = expiry(me({}), Infinity);
    expect(renew).toBe(false);
    expect(door).toMatchObject({ at: "login", why: expect.stringContaining("logged out") });
  });

  test("but another window has logged in anew: goes on with that login", () => {
    expect(expiry(me({ user: "kim", role: "master" }), Infinity)).toEqual({ door: { at: "in" }, renew: true });
  });

  test("twice within ten seconds: the login, not a loop", () => {
    const { door, renew } = expiry(me({ user: "kim", role: "master" }), 2000);
    expect(renew).toBe(false);
    expect(door.at).toBe("login");
  });

  test("and does not answer: the login, which tells more when it is tried", () => {
    expect(expiry(null, Infinity).door.at).toBe("login");
  });

  test("because nobody owns it: the claim page", () => {
    expect(expiry(me({ claimed: false }), Infinity).door.at).toBe("unclaimed");
  });
});
