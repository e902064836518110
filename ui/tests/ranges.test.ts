import { expect, test } from "vitest";
import { exposure } from "../src/lib/format";
import { check, exposureControl, limits, numberControl, position, stepsOf, valueAt } from "../src/lib/ranges";

const sensor = { minimum: 0.000032, maximum: 1000, default: 1 };
const iso = { minimum: 100, maximum: 6400, default: 400, choices: [100, 200, 400, 800, 1600, 3200, 6400] };

test("limits are told in the units people use", () => {
  expect(limits(exposureControl(sensor, exposure))).toBe("32 µs to 1000 s");
  expect(limits(numberControl(iso))).toBe("100, 200, 400, 800, 1600, 3200, 6400");
  expect(limits(numberControl(null))).toBe("");
});

test("a value inside the limits passes, an empty one means the camera's choice", () => {
  const control = exposureControl(sensor, exposure);
  expect(check("1/250", control)).toEqual({ value: 0.004, error: null });
  expect(check("  ", control)).toEqual({ value: null, error: null });
});

test("what is outside, unreadable or not on the list is refused with what would be right", () => {
  expect(check("2000", exposureControl(sensor, exposure)).error).toContain("32 µs to 1000 s");
  expect(check("long", exposureControl(sensor, exposure)).error).toContain("1/250");
  expect(check("500", numberControl(iso)).error).toContain("400, 800");
});

test("a slider over a wide range moves in ratios", () => {
  expect(valueAt(0, sensor)).toBe(0.000032);
  expect(valueAt(1, sensor)).toBe(1000);
  expect(valueAt(0.5, sensor)).toBeCloseTo(0.18, 2);
});

test("a slider comes back to where a value put it", () => {
  for (const value of [0.000032, 0.004, 2.5, 1000]) expect(valueAt(position(value, sensor), sensor)).toBeCloseTo(value, 6);
  const gain = { minimum: 0, maximum: 510, default: 100 };
  for (const value of [0, 120, 510]) expect(valueAt(position(value, gain), gain)).toBe(value);
});

test("a slider over choices stops at each of them and nowhere else", () => {
  expect(stepsOf(iso)).toBe(6);
  for (const value of iso.choices) expect(valueAt(position(value, iso), iso)).toBe(value);
});
