/**
 * Focusing a camera: its measurements as they come, and where in the picture they are made.
 * What is measured, the trend and how often belong to the station; what is shown of it is `Focus.svelte`.
 */
import { ApiProblem, api } from "./api";
import { Backoff } from "./backoff";

/** One line of the station. Lengths are pixels of the sensor. */
export interface Measurement {
  seq: number;
  exposure_s: number | null;
  /** The region's top left corner. */
  x: number;
  y: number;
  width: number;
  height: number;
  frame_width: number;
  frame_height: number;
  /** Medians over the stars; null: none could be measured. */
  hfr_px: number | null;
  fwhm_px: number | null;
  stars: readonly unknown[];
  /** Stars that were left out as they are too bright. */
  saturated: number;
  best_hfr_px: number | null;
  trend: "sharper" | "steady" | "softer" | null;
  /** The region itself, base64. */
  jpeg: string;
}

/** Middle of a region, in pixels of the sensor; null: the picture's middle. */
export type Place = { x: number; y: number } | null;

/** Pixels a region measures each way: fits into the panel at 1:1, and holds some stars. */
export const SIZE = 320;
export const GRAPH_MOST = 60;
/** A test shot takes its exposure and its download; a stream that is silent for longer is dead. */
const SILENCE_MS = 120_000;

/** Whole lines out of pieces that end anywhere. */
export class Lines {
  #rest = "";

  push(piece: string): string[] {
    const lines = (this.#rest + piece).split("\n");
    this.#rest = lines.pop()!;
    return lines.filter((line) => line !== "");
  }
}

interface Frame {
  frame_width: number;
  frame_height: number;
}

/** The pixel of the sensor that is shown at (x, y) from the middle of a picture as large as `box`; null beside the picture. */
export function placeAt(x: number, y: number, box: { width: number; height: number }, frame: Frame): Place {
  const [across, down] = [x / box.width + 0.5, y / box.height + 0.5];
  if (!(across >= 0 && across < 1 && down >= 0 && down < 1) || frame.frame_width === 0) return null;
  return { x: Math.floor(across * frame.frame_width), y: Math.floor(down * frame.frame_height) };
}

/** Lets go of digits that nobody can read off: "2.31", "12.3". */
export const pixels = (value: number | null): string => (value === null ? "–" : value.toFixed(value < 9.995 ? 2 : 1));

/** How far a half-flux radius is from the best so far. */
export function fromBest(hfr: number | null, best: number | null): string {
  if (hfr === null || best === null) return "";
  const over = hfr - best;
  if (over < 0.005) return "this is it";
  return `now ${pixels(over)}\u00a0px wider (${Math.round((100 * over) / best)}\u00a0%)`;
}

/** As the line of the graph goes: down is sharper. */
export const ARROWS = { sharper: "↘", steady: "→", softer: "↗" } as const;

/** How many stars were measured, or what to do as none was. */
export function starWords({ stars, saturated }: Pick<Measurement, "stars" | "saturated">): string {
  if (stars.length > 0) return `${stars.length}${saturated ? `, ${saturated} more too bright` : ""}`;
  return saturated ? "The stars are too bright to measure: expose shorter." : "No star found: tap a star in the picture, or expose longer.";
}

/** Points of the lines of a graph in a box of 100 × 100, the newest at the right; `null` is a gap. Also where the best lies. */
export function graph(values: readonly (number | null)[], best: number | null): { lines: string[]; best: number | null } {
  const there = [...values, best].filter((value) => value !== null);
  const low = Math.min(...there);
  // noise shall not fill the whole height
  const height = Math.max(Math.max(...there) - low, 0.1 * low) || 1;
  const y = (value: number): number => 95 - (90 * (value - low)) / height;
  const lines: string[][] = [[]];
  values.forEach((value, i) => {
    const x = 100 - ((values.length - 1 - i) * 100) / (GRAPH_MOST - 1);
    if (value === null) lines.push([]);
    else lines.at(-1)!.push(`${x.toFixed(1)},${y(value).toFixed(1)}`);
  });
  return { lines: lines.filter((line) => line.length > 0).map((line) => line.join(" ")), best: best === null ? null : y(best) };
}

class Focusing {
  /** The camera whose panel is open. */
  camera = $state.raw<string | null>(null);
  place = $state.raw<Place>(null);
  newest = $state.raw<Measurement | null>(null);
  newestAt = $state.raw(0);
  /** Half-flux radii, oldest first. */
  history = $state.raw<readonly (number | null)[]>([]);
  /** The station forgets the best when a connection breaks; this does not. */
  best = $state.raw<number | null>(null);
  /** How many measurements came since the panel was opened. */
  taken = $state.raw(0);
  /** Why nothing comes at the moment. */
  problem = $state.raw<string | null>(null);

  open(camera: string): void {
    this.camera = camera;
    this.place = null;
    this.taken = 0;
    this.newest = null;
    this.problem = null;
    this.forget();
  }

  close(): void {
    this.camera = null;
    this.newest = null;
  }

  /** Another region has a best and a history of its own. */
  forget(): void {
    this.history = [];
    this.best = null;
  }

  /** Measures until `signal` ends it. A stream that breaks is asked for again. */
  async run(camera: string, place: Place, signal: AbortSignal): Promise<void> {
    const backoff = new Backoff(1000, 10_000);
    while (!signal.aborted) {
      let problem = "The connection broke.";
      try {
        await this.#read(camera, place, signal, () => backoff.reset());
      } catch (error) {
        if (error instanceof ApiProblem) problem = error.detail || error.title;
      }
      if (signal.aborted) return;
      this.problem = problem;
      await pause(backoff.next(), signal);
    }
  }

  async #read(camera: string, place: Place, signal: AbortSignal, arrived: () => void): Promise<void> {
    const silent = new AbortController();
    let timer = setTimeout(() => silent.abort(), SILENCE_MS);
    try {
      const body = await api.focus(camera, { size: SIZE, ...place }, AbortSignal.any([signal, silent.signal]));
      const reader = body.pipeThrough(new TextDecoderStream()).getReader();
      const lines = new Lines();
      for (;;) {
        const { done, value } = await reader.read();
        if (done || signal.aborted) return;
        clearTimeout(timer);
        timer = setTimeout(() => silent.abort(), SILENCE_MS);
        for (const line of lines.push(value)) {
          this.take(JSON.parse(line) as Measurement);
          arrived();
        }
      }
    } finally {
      clearTimeout(timer);
    }
  }

  take(measured: Measurement): void {
    this.problem = null;
    this.newest = measured;
    this.newestAt = performance.now();
    this.taken += 1;
    this.history = [...this.history, measured.hfr_px].slice(-GRAPH_MOST);
    if (measured.best_hfr_px !== null) this.best = Math.min(this.best ?? Infinity, measured.best_hfr_px);
  }
}

/** Ends early with `signal`. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

export const focusing = new Focusing();
