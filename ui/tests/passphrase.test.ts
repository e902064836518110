import { expect, test } from "vitest";
import { browserName } from "../src/lib/agent";
import { passphraseProblem } from "../src/lib/passphrase";

test("a passphrase has twelve characters, and not one again and again", () => {
  expect(passphraseProblem("eleven char")).toContain("these are 11");
  expect(passphraseProblem("ääääöööö")).toContain("these are 8");
  expect(passphraseProblem("aaaaaaaaaaaaaa")).toContain("one character");
  expect(passphraseProblem("a".repeat(201))).toContain("200");
  expect(passphraseProblem("twelve chars")).toBeNull();
});

test.each([
  ["Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36", "Chrome on Linux"],
  ["Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0", "Edge on Windows"],
  ["Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0", "Firefox on Android"],
  ["Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1", "Safari on iPhone"],
  ["curl/8.5.0", "curl/8.5.0"],
  ["", "Unknown browser"],
])("%s is told apart as %s", (agent, name) => {
  expect(browserName(agent)).toBe(name);
});
