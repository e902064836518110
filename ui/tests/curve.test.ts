import { expect, test } from "vitest";
import { curve } from "../src/lib/curve";

const at = (minute: number, value: number) => ({ at: new Date(Date.UTC(2026, 10, 21, 0, minute)).toISOString(), value });

test("a curve fills its box, the least at the bottom", () => {
  const drawn = curve([at(0, 10), at(1, 20), at(2, 15)], 60);
  expect(drawn).toEqual({ lines: ["0.00,95.00 50.00,5.00 100.00,50.00"], low: 10, high: 20 });
});

test("where nothing was heard there is a gap", () => {
  const drawn = curve([at(0, 1), at(1, 2), at(2, 1), at(30, 2), at(31, 1)], 60);
  expect(drawn?.lines).toHaveLength(2);
});

test("values that do not change are a line in the middle, one value is none", () => {
  expect(curve([at(0, 7), at(1, 7)], 60)?.lines).toEqual(["0.00,50.00 100.00,50.00"]);
  expect(curve([at(0, 7)], 60)).toBeNull();
});
