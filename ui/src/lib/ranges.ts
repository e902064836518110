/** What a camera takes for one control: limits in words, checks, and the slider's scale. */
import type { ControlRange } from "./api";
import { parseExposure, parseNumber } from "./format";

/** Ranges wider than this are slid along in equal ratios, not in equal steps. */
const WIDE = 200;

export interface Control {
  range: ControlRange | null;
  show(value: number): string;
  parse(text: string): number | null;
  /** What the value should look like, for the message when it does not. */
  example: string;
}

export type Checked = { value: number | null; error: null } | { value: null; error: string };

export const plain = (value: number): string => String(Number(value.toPrecision(6)));

export function exposureControl(range: ControlRange | null | undefined, show: (s: number) => string): Control {
  return { range: range ?? null, show, parse: parseExposure, example: "2.5, 250 ms or 1/250" };
}

export function numberControl(range: ControlRange | null | undefined, show: (n: number) => string = plain): Control {
  return { range: range ?? null, show, parse: parseNumber, example: "a number" };
}

export function limits({ range, show }: Control): string {
  if (!range) return "";
  if (range.choices && range.choices.length <= 8) return range.choices.map(show).join(", ");
  return `${show(range.minimum)} to ${show(range.maximum)}`;
}

/** An empty text is null: the camera's own choice. */
export function check(text: string, control: Control): Checked {
  if (text.trim() === "") return { value: null, error: null };
  const value = control.parse(text);
  if (value === null) return { value: null, error: `Write it like ${control.example}` };
  const { range, show } = control;
  if (range?.choices?.length && !range.choices.some((choice) => Math.abs(choice - value) <= 1e-6 * Math.abs(choice))) {
    return { value: null, error: `This camera has ${range.choices.map(show).join(", ")}` };
  }
  if (range && (value < range.minimum || value > range.maximum)) {
    return { value: null, error: `This camera takes ${show(range.minimum)} to ${show(range.maximum)}` };
  }
  return { value, error: null };
}

export function position(value: number, range: ControlRange): number {
  const { choices, minimum, maximum } = range;
  if (choices && choices.length > 1) {
    const nearest = choices.reduce((best, choice, i) => (Math.abs(choice - value) < Math.abs(choices[best]! - value) ? i : best), 0);
    return nearest / (choices.length - 1);
  }
  if (maximum <= minimum) return 0;
  const at = isWide(range) ? Math.log(value / minimum) / Math.log(maximum / minimum) : (value - minimum) / (maximum - minimum);
  return Math.min(1, Math.max(0, at));
}

export function valueAt(at: number, range: ControlRange): number {
  const { choices, minimum, maximum } = range;
  if (choices && choices.length > 1) return choices[Math.round(at * (choices.length - 1))]!;
  if (at <= 0) return minimum;
  if (at >= 1) return maximum;
  if (isWide(range)) return Number((minimum * (maximum / minimum) ** at).toPrecision(2));
  const step = 10 ** Math.floor(Math.log10((maximum - minimum) / 100));
  return Math.min(maximum, Math.max(minimum, Number((Math.round((minimum + at * (maximum - minimum)) / step) * step).toPrecision(10))));
}

export const stepsOf = (range: ControlRange): number => (range.choices && range.choices.length > 1 ? range.choices.length - 1 : 400);

const isWide = (range: ControlRange): boolean => range.minimum > 0 && range.maximum / range.minimum > WIDE;
