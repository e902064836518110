import { expect, test } from "vitest";
import { IDENTITY, within, zoomAround } from "../src/lib/zoom";

test("the point under the fingers stays where it is", () => {
  const t = zoomAround(IDENTITY, 3, 100, -40);
  const seen = (at: number, shift: number): number => at * t.scale + shift;
  expect(seen(100, t.x)).toBeCloseTo(100);
  expect(seen(-40, t.y)).toBeCloseTo(-40);
});

test("zooming out ends at the whole picture, in the middle", () => {
  expect(zoomAround({ scale: 1.2, x: 30, y: 5 }, 0.5, 0, 0)).toEqual(IDENTITY);
});

test("the picture cannot be dragged out of sight", () => {
  const stage = { width: 400, height: 300 };
  expect(within({ scale: 2, x: 5000, y: -5000 }, stage, stage)).toEqual({ scale: 2, x: 200, y: -150 });
  expect(within({ scale: 1, x: 50, y: 50 }, stage, stage)).toEqual({ scale: 1, x: 0, y: 0 });
});
