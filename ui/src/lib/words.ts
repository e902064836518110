/** The state of a camera and its picture in words, from everything this page knows. */
import { isStale } from "./age";
import type { CameraStatus } from "./api";
import { countdown, exposure, span } from "./format";
import type { LiveState } from "./framing";
import type { LinkState } from "./link";

/** How the state looks: each has its own sign and colour. */
export type Mood = "live" | "busy" | "stale" | "trouble" | "closed";

/** `held`: older than live, as must be while a long exposure runs. `stale`: older than it should be. */
export type Freshness = "live" | "held" | "stale";

export interface Situation {
  reachable: boolean;
  link: LinkState;
  camera: CameraStatus | null;
  /** Seconds since `camera` was true. */
  cameraAgeS: number;
  /** What the live socket said last, unless a fresh picture came after it. */
  said: LiveState | null;
  /** Seconds since the shutter of the newest picture opened; null: no picture yet. */
  pictureAgeS: number | null;
  pictureExposureS: number | null;
}

export interface View {
  mood: Mood;
  words: string;
  /** 0…1 of a running exposure. */
  progress: number | null;
  freshness: Freshness;
}

/** Exposures shorter than this are not worth a progress line. */
const LONG_S = 2;
/** A camera may be this late before its picture counts as stale. */
const GRACE_S = 5;

export function describe(s: Situation): View {
  const outside = fromConnection(s);
  if (outside) return outside;
  return fromLifecycle(s) ?? fromActivity(s) ?? fromPicture(s);
}

const view = (mood: Mood, words: string, freshness: Freshness, progress: number | null = null): View => ({ mood, words, freshness, progress });

function fromConnection(s: Situation): View | null {
  if (!s.reachable) return view("trouble", "no connection", "stale");
  if (s.link.phase === "refused") return view("trouble", "not watching", "stale");
  if (s.link.phase === "waiting" && s.link.code === 1013) return view("trouble", "waiting for a place", "stale");
  return null;
}

function fromLifecycle(s: Situation): View | null {
  const state = s.camera?.state ?? (s.said?.state === "live" || s.said?.state === "stale" ? "running" : s.said?.state);
  const retry = s.camera?.problem?.retry_in_s;
  switch (state) {
    case "stopped":
      return view("closed", "closed", "stale");
    case "starting":
      return view("busy", "opening the camera", "stale");
    case "stopping":
      return view("busy", "closing", "stale");
    case "recovering": {
      const left = retry === null || retry === undefined ? null : retry - s.cameraAgeS;
      return view("trouble", left !== null && left > 0 ? `recovering (retry ${countdown(left)})` : "recovering", "stale");
    }
    default:
      return null;
  }
}

function fromActivity(s: Situation): View | null {
  const activity = s.camera?.activity;
  if (!activity) return null;
  const old = s.pictureAgeS === null || isStale(s.pictureAgeS, s.pictureExposureS);
  const freshness: Freshness = old ? "held" : "live";
  switch (activity.kind) {
    case "exposing": {
      const total = activity.exposure_s ?? 0;
      const elapsed = (activity.elapsed_s ?? 0) + s.cameraAgeS;
      if (total < LONG_S || elapsed > total + GRACE_S) return null;
      const done = Math.min(elapsed, total);
      return view("busy", `exposing ${Math.floor(done)} of ${exposure(total)}`, freshness, done / total);
    }
    case "waiting": {
      const left = (activity.next_opening_in_s ?? 0) - s.cameraAgeS;
      return left < LONG_S - GRACE_S ? null : view("busy", `waiting, next picture ${countdown(left)}`, freshness);
    }
    case "reading":
    case "storing":
      if ((s.camera?.session?.exposure_s ?? 0) < LONG_S || s.cameraAgeS > GRACE_S) return null;
      return view("busy", activity.kind === "reading" ? "reading the picture out" : "storing the picture", freshness);
    default:
      return null;
  }
}

function fromPicture(s: Situation): View {
  if (s.pictureAgeS === null) {
    return s.link.phase === "open" ? view("busy", "waiting for the first picture", "stale") : view("busy", "connecting", "stale");
  }
  const stale = s.said?.state === "stale" || isStale(s.pictureAgeS, s.pictureExposureS);
  return stale ? view("stale", `stale ${span(s.pictureAgeS)}`, "stale") : view("live", "live", "live");
}
