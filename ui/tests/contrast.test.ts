import { describe, expect, test } from "vitest";
import css from "../src/app.css?raw";

type Rgba = [number, number, number, number];

function theme(name: string): Record<string, string> {
  const block = new RegExp(`\\[data-theme="${name}"\\] \\{([^}]*)\\}`).exec(css)?.[1] ?? "";
  return Object.fromEntries([...block.matchAll(/--([\w-]+): ([^;]+);/g)].map((match) => [match[1]!, match[2]!]));
}

function colour(text: string): Rgba {
  if (text.startsWith("#")) return [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16)).concat(1) as Rgba;
  const numbers = text.match(/[\d.]+/g)!.map(Number);
  return [numbers[0]!, numbers[1]!, numbers[2]!, numbers[3] ?? 1];
}

const over = (top: Rgba, ground: Rgba): Rgba => [0, 1, 2].map((i) => top[i]! * top[3] + ground[i]! * (1 - top[3])).concat(1) as Rgba;

/** WCAG 2.2, relative luminance and contrast ratio. */
function luminance(rgb: Rgba): number {
  const [r, g, b] = rgb.slice(0, 3).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4)) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: Rgba, b: Rgba): number {
  const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number];
  return (light + 0.05) / (dark + 0.05);
}

describe.each(["dark", "light", "red"])("the %s theme", (name) => {
  const tokens = theme(name);
  const of = (token: string): Rgba => colour(tokens[token]!);
  const brightest: Rgba = name === "red" ? [255, 0, 0, 1] : [255, 255, 255, 1];
  const grounds: [string, Rgba][] = [
    ["panel", of("panel")],
    ["field", of("field")],
    ["raised", of("raised")],
    ["raised-hover", of("raised-hover")],
    ["glass over a black picture", over(of("glass"), [0, 0, 0, 1])],
    ["glass over a bright picture", over(of("glass"), brightest)],
  ];

  test.each(grounds)("text passes AA on %s", (_, ground) => {
    for (const token of ["text", "muted"]) expect(contrast(of(token), ground), token).toBeGreaterThanOrEqual(4.5);
  });

  test.each(grounds.filter(([what]) => !what.startsWith("raised")))("words of state pass AA on %s", (_, ground) => {
    for (const token of ["good", "warn", "bad", "accent"]) expect(contrast(of(token), ground), token).toBeGreaterThanOrEqual(4.5);
  });

  test("a problem and the main button pass AA", () => {
    expect(contrast(of("text"), of("bad-ground"))).toBeGreaterThanOrEqual(4.5);
    expect(contrast(of("on-accent"), of("accent"))).toBeGreaterThanOrEqual(4.5);
  });

  test("edges of fields and the focus ring stand out by 3:1", () => {
    for (const token of ["edge-line", "focus"]) expect(contrast(of(token), of("panel")), token).toBeGreaterThanOrEqual(3);
  });
});

test("the red theme has no green and no blue", () => {
  const colours = Object.values(theme("red")).filter((value) => /^(#|rgb)/.test(value));
  expect(colours.length).toBeGreaterThan(15);
  for (const value of colours) expect(colour(value).slice(1, 3), value).toEqual([0, 0]);
});
