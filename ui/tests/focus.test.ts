import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { hooks } from "../src/lib/api";
import { GRAPH_MOST, Lines, type Measurement, focusing, fromBest, graph, pixels, placeAt, starWords } from "../src/lib/focus.svelte";

const measured = (hfr: number | null, more: Partial<Measurement> = {}): Measurement => ({
  seq: 1,
  exposure_s: 0.1,
  x: 0,
  y: 0,
  width: 320,
  height: 320,
  frame_width: 1920,
  frame_height: 1080,
  hfr_px: hfr,
  fwhm_px: hfr,
  stars: hfr === null ? [] : [{}],
  saturated: 0,
  best_hfr_px: hfr,
  trend: null,
  jpeg: "",
  ...more,
});

describe("lines of the stream", () => {
  test("come whole, wherever the pieces end", () => {
    const text = '{"seq":1}\n{"seq":22}\n{"seq":3}\n';
    for (let cut = 0; cut <= text.length; cut++) {
      const lines = new Lines();
      expect([...lines.push(text.slice(0, cut)), ...lines.push(text.slice(cut))]).toEqual(['{"seq":1}', '{"seq":22}', '{"seq":3}']);
    }
  });

  test("wait for their end", () => {
    const lines = new Lines();
    expect(lines.push('{"seq"')).toEqual([]);
    expect(lines.push(":1}")).toEqual([]);
    expect(lines.push("\n")).toEqual(['{"seq":1}']);
  });
});

describe("a tap on the live picture", () => {
  const frame = { frame_width: 3840, frame_height: 2160 };
  const box = { width: 360, height: 202.5 };

  test("means the pixel of the sensor that is shown there, however small the picture is", () => {
    expect(placeAt(0, 0, box, frame)).toEqual({ x: 1920, y: 1080 });
    expect(placeAt(-180, -101.25, box, frame)).toEqual({ x: 0, y: 0 });
    expect(placeAt(90, 50.625, box, frame)).toEqual({ x: 2880, y: 1620 });
  });

  test("beside the picture means nothing", () => {
    expect(placeAt(181, 0, box, frame)).toBeNull();
    expect(placeAt(0, -110, box, frame)).toBeNull();
  });

  test("means nothing while the size of the frame is not known", () => {
    expect(placeAt(0, 0, box, { frame_width: 0, frame_height: 0 })).toBeNull();
  });
});

test("a radius is told in digits that can be read off", () => {
  expect(pixels(2.3149)).toBe("2.31");
  expect(pixels(9.996)).toBe("10.0");
  expect(pixels(null)).toBe("–");
});

test("how far from the best is told in pixels and percent", () => {
  expect(fromBest(2.5, 2)).toBe("now 0.50\u00a0px wider (25\u00a0%)");
  expect(fromBest(2, 2)).toBe("this is it");
  expect(fromBest(null, 2)).toBe("");
  expect(fromBest(2, null)).toBe("");
});

test("without a star it says what to do", () => {
  expect(starWords({ stars: [], saturated: 0 })).toContain("expose longer");
  expect(starWords({ stars: [], saturated: 2 })).toContain("expose shorter");
  expect(starWords({ stars: [{}, {}], saturated: 1 })).toBe("2, 1 more too bright");
});

describe("the graph", () => {
  const points = (line: string): number[][] => line.split(" ").map((point) => point.split(",").map(Number));

  test("goes down as it gets sharper, the newest at the right, the best marked", () => {
    const { lines, best } = graph([4, 3, 2], 2);
    const drawn = points(lines[0]!);
    expect(drawn.map(([, y]) => y)).toEqual([5, 50, 95]);
    expect(drawn.at(-1)![0]).toBe(100);
    expect(best).toBe(95);
  });

  test("has a gap where no star was found", () => {
    expect(graph([4, null, 2, 3], 2).lines.map((line) => points(line).length)).toEqual([1, 2]);
  });

  test("does not blow noise up to its full height", () => {
    const { lines } = graph([2, 2.01], 2);
    const [a, b] = points(lines[0]!).map(([, y]) => y!);
    expect(a! - b!).toBeLessThan(10);
  });

  test("is empty before the first value", () => {
    expect(graph([], null)).toEqual({ lines: [], best: null });
    expect(graph([null, null], null)).toEqual({ lines: [], best: null });
  });
});

describe("focusing", () => {
  const usual = { ...hooks };

  beforeEach(() => {
    focusing.open("sky");
    hooks.epoch = () => 41;
    vi.useFakeTimers();
  });

  afterEach(() => {
    Object.assign(hooks, usual);
    vi.unstubAllGlobals();
    vi.useRealTimers();
  });

  test("keeps the best also when the station has forgotten it, and the last values for the graph", () => {
    focusing.take(measured(2));
    focusing.take(measured(null, { best_hfr_px: null }));
    for (let i = 0; i < GRAPH_MOST; i++) focusing.take(measured(3));
    expect(focusing.best).toBe(2);
    expect(focusing.history.length).toBe(GRAPH_MOST);
    expect(focusing.taken).toBe(GRAPH_MOST + 2);
    focusing.forget();
    expect([focusing.best, focusing.history]).toEqual([null, []]);
  });

  test("asks with its control and its region, asks again when the stream breaks, and ends when told", async () => {
    const asked: [string, RequestInit][] = [];
    vi.stubGlobal("fetch", async (path: string, request: RequestInit) => {
      asked.push([path, request]);
      return new Response(`${JSON.stringify(measured(2))}\n`);
    });
    const over = new AbortController();
    const running = focusing.run("sky", { x: 10, y: 20 }, over.signal);
    await vi.advanceTimersByTimeAsync(1100);
    expect(asked.length).toBe(2);
    expect(asked[0]![0]).toBe("/api/cameras/sky/focus?size=320&x=10&y=20");
    expect(asked[0]![1].headers).toEqual({ "X-Control-Epoch": "41" });
    expect(focusing.newest?.hfr_px).toBe(2);
    expect(focusing.problem).toBe("The connection broke.");
    over.abort();
    await running;
    await vi.advanceTimersByTimeAsync(30_000);
    expect(asked.length).toBe(2);
  });

  test("says in the station's words why it is refused", async () => {
    vi.stubGlobal("fetch", async () => new Response(JSON.stringify({ title: "Not now", detail: "It is opening." }), { status: 409 }));
    const over = new AbortController();
    const running = focusing.run("sky", null, over.signal);
    await vi.advanceTimersByTimeAsync(10);
    expect(focusing.problem).toBe("It is opening.");
    over.abort();
    await running;
  });
});
