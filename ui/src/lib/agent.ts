/** "Firefox on Android" from what a browser says of itself: enough to know one's own devices apart. */
export function browserName(agent: string): string {
  const of = (names: readonly (readonly [string, RegExp])[]): string | undefined => names.find(([, sign]) => sign.test(agent))?.[0];
  const browser = of([
    ["Edge", /Edg(e|A|iOS)?\//],
    ["Opera", /OPR\//],
    ["Samsung Internet", /SamsungBrowser\//],
    ["Firefox", /(Firefox|FxiOS)\//],
    ["Chrome", /(Chrome|Chromium|CriOS)\//],
    ["Safari", /Safari\//],
  ]);
  const system = of([
    ["Android", /Android/],
    ["iPhone", /iPhone/],
    ["iPad", /iPad/],
    ["Windows", /Windows/],
    ["macOS", /Mac OS X/],
    ["ChromeOS", /CrOS/],
    ["Linux", /Linux/],
  ]);
  if (browser && system) return `${browser} on ${system}`;
  return browser ?? system ?? (agent.slice(0, 40) || "Unknown browser");
}
