/** A series of values as a line in a box of 100 by 100, with gaps where nothing was heard. */

export interface Value {
  at: string;
  value: number;
}

export interface Curve {
  lines: string[];
  low: number;
  high: number;
}

/** `everyS`: so far apart values are at least; three times as far there is a gap. Null for less than two values. */
export function curve(values: readonly Value[], everyS: number): Curve | null {
  if (values.length < 2) return null;
  const times = values.map((one) => Date.parse(one.at));
  const begin = times[0]!;
  const width = Math.max(1, times[times.length - 1]! - begin);
  const low = Math.min(...values.map((one) => one.value));
  const high = Math.max(...values.map((one) => one.value));
  const y = (value: number): number => (high > low ? 95 - (90 * (value - low)) / (high - low) : 50);
  const steps = times.slice(1).map((time, i) => time - times[i]!);
  const usual = [...steps].sort((a, b) => a - b)[Math.floor(steps.length / 2)]!;
  const far = 3 * Math.max(everyS * 1000, usual);
  const lines: string[][] = [];
  values.forEach((one, i) => {
    if (i === 0 || times[i]! - times[i - 1]! > far) lines.push([]);
    lines[lines.length - 1]!.push(`${((100 * (times[i]! - begin)) / width).toFixed(2)},${y(one.value).toFixed(2)}`);
  });
  return { lines: lines.map((points) => points.join(" ")), low, high };
}
