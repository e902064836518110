import { describe, expect, test } from "vitest";
import type { Control } from "../src/lib/api";
import { Lease, type Loss, type Surroundings } from "../src/lib/lease";
import type { StationEvent } from "../src/lib/events";

type Held = { session: string; epoch: number } | null;

/** A station with one camera, by the rules that the page has to live with. */
class Station implements Surroundings {
  held: Held = null;
  epochs = 0;
  socketOpen = true;
  inSight = true;
  answers = true;
  said: number[] = [];
  losses: Loss[] = [];
  epoch: number | null = null;
  asked = 0;

  say(message: { epoch: number }): boolean {
    if (this.socketOpen) this.said.push(message.epoch);
    return this.socketOpen;
  }

  async acquire(_camera: string, takeOver: boolean): Promise<Control> {
    if (this.held && this.held.session !== "mine" && !takeOver) throw new Error("409");
    this.held = { session: "mine", epoch: ++this.epochs };
    return this.control();
  }

  async release(): Promise<void> {
    this.held = null;
  }

  async look(): Promise<Control> {
    this.asked += 1;
    if (!this.answers) throw new Error("no answer");
    return this.control();
  }

  session = (): string => "mine";
  visible = (): boolean => this.inSight;
  changed = (epoch: number | null): void => void (this.epoch = epoch);
  lost = (loss: Loss): void => void this.losses.push(loss);

  control(): Control {
    const mine = this.held?.session === "mine";
    const holder = this.held && { user: this.held.session, session: this.held.session, since: "2026-11-21T00:00:00Z" };
    return { camera: "sky", holder, requests: [], mine, epoch: mine ? this.held!.epoch : null, expires_in_s: this.held ? 15 : null };
  }

  other(): void {
    this.held = { session: "kim", epoch: ++this.epochs };
  }
}

const event = (action: string, session_id: string, camera = "sky"): StationEvent => ({ kind: "session_event", at: "", camera, action, session_id, user: session_id, detail: "" });
const refusal = { type: "problem", status: 409, title: "Not in control", detail: "" } as const;

async function holding(): Promise<[Station, Lease]> {
  const station = new Station();
  const lease = new Lease("sky", station);
  await lease.take(false);
  expect(station.epoch).toBe(1);
  return [station, lease];
}

describe("control that this page has", () => {
  test("is renewed with its epoch", async () => {
    const [station, lease] = await holding();
    lease.renew();
    lease.renew();
    expect(station.said).toEqual([1, 1]);
  });

  test("is not renewed by a page that nobody sees", async () => {
    const [station, lease] = await holding();
    station.inSight = false;
    lease.renew();
    expect(station.said).toEqual([]);
  });

  test("is given back once, and not renewed after that", async () => {
    const [station, lease] = await holding();
    await lease.giveBack();
    lease.renew();
    expect([station.held, station.epoch, station.said]).toEqual([null, null, []]);
  });

  test("is taken back when it ran out and nobody has it", async () => {
    const [station, lease] = await holding();
    station.held = null;
    lease.answered(refusal);
    await expect.poll(() => station.epoch).toBe(2);
    expect(station.losses).toEqual([]);
  });

  test("stays lost when somebody else has it, who is named", async () => {
    const [station, lease] = await holding();
    station.other();
    lease.answered(refusal);
    await expect.poll(() => lease.phase).toBe("none");
    expect(station.losses).toMatchObject([{ how: "other", holder: { user: "kim" } }]);
    expect(station.held?.session).toBe("kim");
    lease.renew();
    expect(station.said).toEqual([]);
  });

  test("goes to another window of the same login without a fight", async () => {
    const [station, lease] = await holding();
    await station.acquire("sky", false);
    lease.answered(refusal);
    await expect.poll(() => lease.phase).toBe("none");
    expect(station.losses).toEqual([{ how: "window" }]);
    expect(station.held?.epoch).toBe(2);
  });

  test("ends when an admin takes it, as soon as that is told", async () => {
    const [station, lease] = await holding();
    station.other();
    lease.heard(event("control_taken", "kim"));
    await expect.poll(() => station.epoch).toBeNull();
    expect(station.losses).toHaveLength(1);
  });

  test("is not touched by what happens at another camera", async () => {
    const [station, lease] = await holding();
    lease.heard(event("control_taken", "kim", "roof"));
    lease.heard(event("control_released", "kim"));
    lease.answered({ ...refusal, camera: "roof" });
    expect([lease.phase, station.asked]).toEqual(["held", 0]);
  });

  test("survives a station that does not answer for a while", async () => {
    const [station, lease] = await holding();
    station.answers = false;
    lease.answered(refusal);
    await expect.poll(() => lease.phase).toBe("lapsed");
    expect(station.epoch).toBeNull();
    station.answers = true;
    lease.renew();
    await expect.poll(() => station.epoch).toBe(1);
  });
});

describe("a page that slept", () => {
  test("hears that its control ran out, asks nothing, and takes it back on return", async () => {
    const [station, lease] = await holding();
    station.inSight = false;
    station.held = null;
    lease.heard(event("control_expired", "mine"));
    expect([lease.phase, station.epoch, station.asked]).toEqual(["lapsed", null, 0]);
    lease.renew();
    expect(station.asked).toBe(0);
    station.inSight = true;
    lease.renew();
    await expect.poll(() => station.epoch).toBe(2);
  });

  test("leaves it to whoever took it meanwhile", async () => {
    const [station, lease] = await holding();
    station.inSight = false;
    lease.heard(event("control_expired", "mine"));
    station.other();
    station.inSight = true;
    lease.renew();
    await expect.poll(() => lease.phase).toBe("none");
    expect(station.held?.session).toBe("kim");
  });

  test("without control before takes none", async () => {
    const station = new Station();
    const lease = new Lease("sky", station);
    lease.renew();
    await lease.settle();
    lease.heard(event("control_expired", "mine"));
    expect([station.asked, station.held, lease.phase]).toEqual([0, null, "none"]);
  });

  test("that was loaded anew renews what it had", () => {
    const station = new Station();
    const lease = new Lease("sky", station);
    lease.resume(7);
    expect([station.said, lease.epoch]).toEqual([[7], 7]);
  });
});

test("control given by an admin is fetched by the page that somebody sees", async () => {
  const station = new Station();
  const lease = new Lease("sky", station);
  station.held = { session: "mine", epoch: ++station.epochs };
  station.inSight = false;
  lease.heard(event("control_forced", "mine"));
  expect(station.epoch).toBeNull();
  station.inSight = true;
  lease.heard(event("control_forced", "mine"));
  await expect.poll(() => station.epoch).toBe(2);
});

test("what cannot be taken is said to whoever pressed the button, and changes nothing", async () => {
  const station = new Station();
  station.other();
  const lease = new Lease("sky", station);
  await expect(lease.take(false)).rejects.toThrow("409");
  expect([lease.phase, station.epoch]).toEqual(["none", null]);
});
