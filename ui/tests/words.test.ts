import { describe as group, expect, test } from "vitest";
import type { CameraStatus } from "../src/lib/api";
import { type Situation, describe } from "../src/lib/words";

type Parts = Partial<Omit<CameraStatus, "activity">> & { activity?: Partial<CameraStatus["activity"]> };

function camera({ activity, ...rest }: Parts = {}): CameraStatus {
  const none = { generation: [1, 1] as [number, number], requested: {}, applied: null, visible: null, automatic: [], can_automatic: [] };
  return {
    name: "dome", driver: "zwo", state: "running", problem: null, info: null, settings: { live: none, still: none }, session: null, control: { holder: null, requests: [] },
    live: { viewers: 1, fps: 5, age_s: 0.2, stale: false, codec: "jpeg", width: 1280, height: 720, dropped: 0, encoded: 0 },
    undeveloped: 0, temperature_c: null, last_image: null, images_today: 0, restarts: 0, recovery: { rungs: {}, restarts: {}, usb_port: null }, notes: [], preroll: null, night: null, ...rest,
    activity: { kind: "live", words: "live", as_of: "2026-11-21T23:15:02Z", exposure_s: null, elapsed_s: null, next_opening_in_s: null, ...activity },
  };
}

function situation(parts: Partial<Situation> = {}): Situation {
  return { reachable: true, link: { phase: "open" }, camera: camera(), cameraAgeS: 0, said: null, pictureAgeS: 0.3, pictureExposureS: 0.1, ...parts };
}

group("a fresh picture", () => {
  test("is live", () => {
    expect(describe(situation())).toMatchObject({ mood: "live", words: "live", freshness: "live" });
  });
});

group("an old picture is never live", () => {
  test("when frames stop coming", () => {
    expect(describe(situation({ pictureAgeS: 12 }))).toMatchObject({ mood: "stale", words: "stale 12 s", freshness: "stale" });
  });

  test("when the station says it is stale, however young it seems", () => {
    const said = { type: "state" as const, state: "stale" as const, words: "stale", age_s: 3 };
    expect(describe(situation({ said })).freshness).toBe("stale");
  });

  test("when the station cannot be reached", () => {
    expect(describe(situation({ reachable: false }))).toMatchObject({ mood: "trouble", freshness: "stale" });
  });

  test("when the camera recovers, is closed, opens or closes", () => {
    for (const state of ["recovering", "stopped", "starting", "stopping"] as const) {
      expect(describe(situation({ camera: camera({ state }) })).freshness).toBe("stale");
    }
  });

  test("when the place was refused", () => {
    const link = { phase: "waiting" as const, code: 1013, reason: "full", retryAt: 0 };
    expect(describe(situation({ link }))).toMatchObject({ words: "waiting for a place", freshness: "stale" });
  });
});

group("a long exposure", () => {
  const exposing = camera({ activity: { kind: "exposing", exposure_s: 30, elapsed_s: 6 } });

  test("counts on between two messages of the station", () => {
    const view = describe(situation({ camera: exposing, cameraAgeS: 2.5, pictureAgeS: 38, pictureExposureS: 30 }));
    expect(view).toMatchObject({ mood: "busy", words: "exposing 8 of 30 s", freshness: "live" });
    expect(view.progress).toBeCloseTo(8.5 / 30);
  });

  test("holds an older picture without alarm, and without calling it live", () => {
    const view = describe(situation({ camera: exposing, pictureAgeS: 90, pictureExposureS: 30 }));
    expect(view).toMatchObject({ mood: "busy", freshness: "held" });
  });

  test("that should long be over makes the picture stale", () => {
    const view = describe(situation({ camera: exposing, cameraAgeS: 30, pictureAgeS: 90, pictureExposureS: 30 }));
    expect(view).toMatchObject({ mood: "stale", freshness: "stale" });
  });
});

group("between two pictures", () => {
  const waiting = camera({ activity: { kind: "waiting", next_opening_in_s: 10 } });

  test("the next opening is counted down", () => {
    expect(describe(situation({ camera: waiting, cameraAgeS: 6.2, pictureAgeS: 20 })).words).toBe("waiting, next picture in 4 s");
  });

  test("an opening that does not come is no excuse for an old picture", () => {
    expect(describe(situation({ camera: waiting, cameraAgeS: 16, pictureAgeS: 30 })).mood).toBe("stale");
  });
});

test("recovering says when it is tried again", () => {
  const problem = { kind: "hang", message: "did not answer", since: "2026-11-21T23:15:02Z", retry_in_s: 6 };
  expect(describe(situation({ camera: camera({ state: "recovering", problem }), cameraAgeS: 2.4 })).words).toBe("recovering (retry in 4 s)");
});

test("before the first picture it says what it waits for", () => {
  expect(describe(situation({ pictureAgeS: null })).words).toBe("waiting for the first picture");
  expect(describe(situation({ pictureAgeS: null, link: { phase: "connecting" } })).words).toBe("connecting");
});
