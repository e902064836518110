import { describe, expect, test } from "vitest";
import { claimCode, takeClaimCode } from "../src/lib/claim";

describe("the code in the address", () => {
  test("is what follows #claim=", () => {
    expect(claimCode("#claim=vrfu-m5v6")).toBe("vrfu-m5v6");
    expect(claimCode("#claim=a%20b")).toBe("a b");
  });

  test.each(["", "#", "#claim", "#claim=", "#claim=%20", "#claim=%E0%A4%A", "#other=1", "#xclaim=1", "#claim=a&b=c"])("%s has none", (fragment) => {
    expect(claimCode(fragment)).toBeNull();
  });

  test.each([
    ["#claim=abcd-efgh", "abcd-efgh"],
    ["#claim=%E0%A4%A", null],
  ])("%s leaves the address bar at once", (hash, code) => {
    const shown: (string | URL | null | undefined)[] = [];
    const past = { state: null, replaceState: (_state: unknown, _title: string, url?: string | URL | null) => void shown.push(url) };
    expect(takeClaimCode({ hash, pathname: "/", search: "?a=1" }, past)).toBe(code);
    expect(shown).toEqual(["/?a=1"]);
  });

  test("an address without one is left alone", () => {
    const past = { state: null, replaceState: () => expect.unreachable() };
    expect(takeClaimCode({ hash: "", pathname: "/", search: "" }, past)).toBeNull();
  });
});
