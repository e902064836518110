/**
 * What this page knows of the station: cameras, the one watched, whether the station answers.
 * The live picture is `watch.svelte.ts`, the newest images are `roll.svelte.ts`.
 */
import { type CameraStatus, api } from "./api";
import { Backoff } from "./backoff";
import { type Answer, type StationEvent, listen } from "./events";
import { bytes } from "./format";
import type { Link } from "./link";
import { notices } from "./notices.svelte";
import { Roll } from "./roll.svelte";
import { Watch } from "./watch.svelte";
import { describe } from "./words";

const TICK_MS = 250;
const HEALTH_MS = 10_000;
const REREAD_MS = 30_000;
/** A socket that spoke this recently proves that the station is there, whatever became of a request. */
const PROOF_MS = 3000;
/** Why a socket ended: no login, or none any more; not allowed, or the station is not claimed. */
const [NO_LOGIN, NOT_ALLOWED] = [4401, 4403];

export class Station {
  now = $state(performance.now());
  cameras = $state.raw<CameraStatus[]>([]);
  loaded = $state(false);
  selected = $state.raw<string | null>(null);
  watch = $state.raw<Watch | null>(null);
  roll = $state.raw<Roll | null>(null);
  /** Null while the station answers. */
  lost = $state.raw<{ since: Date; retryAt: number } | null>(null);

  #seen = $state.raw(0);
  #lastHeard = performance.now();
  #events: Link | null = null;
  #backoff = new Backoff(1000);
  #timer: ReturnType<typeof setTimeout> | undefined;
  #checking = false;
  #rereading: ReturnType<typeof setInterval> | undefined;

  /** Told by those who need them: that the login has ended, and what concerns control. */
  strange = (): void => undefined;
  opened = (): void => undefined;
  said = (_event: StationEvent | Answer): void => undefined;
  #ears = new Set<(event: StationEvent) => void>();

  camera = $derived(this.cameras.find((camera) => camera.name === this.selected) ?? null);
  /** Since `camera` was true: since its `as_of`, once the station's clock is known, else since it arrived. */
  cameraAgeS = $derived.by(() => {
    const arrived = (this.now - this.#seen) / 1000;
    const ahead = this.watch?.serverAheadMs ?? null;
    if (ahead === null || !this.camera) return Math.max(0, arrived);
    const made = performance.timeOrigin + this.now + ahead - Date.parse(this.camera.activity.as_of);
    return Math.max(0, arrived, made / 1000);
  });
  pictureAgeS = $derived(this.watch?.header ? Math.max(0, (this.now - this.watch.openedNow) / 1000) : null);
  view = $derived(
    describe({
      reachable: this.lost === null,
      link: this.watch?.link ?? { phase: "connecting" },
      camera: this.camera,
      cameraAgeS: this.cameraAgeS,
      said: this.watch?.said ?? null,
      pictureAgeS: this.pictureAgeS,
      pictureExposureS: this.watch?.header?.exposure_s ?? null,
    }),
  );

  constructor() {
    setInterval(() => this.#tick(), TICK_MS);
  }

  /** Opens its sockets, with the login of this moment; the ones from before are ended. */
  resume(): void {
    this.suspend();
    this.#events = listen({
      heard: this.#heard,
      answered: (answer) => this.said(answer),
      state: (state) => {
        if (state.phase === "open") {
          void this.reread();
          this.opened();
        }
        if (state.phase === "waiting") this.#socketLost();
        if (state.phase === "refused") this.#refused(state.code);
      },
    });
    this.#rereading = setInterval(() => void this.reread(), REREAD_MS);
    if (this.selected !== null) this.#look(this.selected);
    void this.check();
  }

  /** Asks nothing more of the station. What it has shown stays. */
  suspend(): void {
    this.#events?.end();
    this.#events = null;
    this.watch?.end();
    clearInterval(this.#rereading);
    clearTimeout(this.#timer);
    this.lost = null;
  }

  /** Be told of every event, until the answer is called. */
  hear(ear: (event: StationEvent) => void): () => void {
    this.#ears.add(ear);
    return () => this.#ears.delete(ear);
  }

  /** Whether it could be said. */
  say(message: unknown): boolean {
    return this.#events?.send(JSON.stringify(message)) ?? false;
  }

  select(name: string): void {
    if (name === this.selected) return;
    this.watch?.end();
    this.selected = name;
    this.#look(name);
    this.roll = new Roll(name);
    this.#seen = performance.now();
    void this.roll.refresh();
    void this.reread();
  }

  /** Reads all cameras anew. */
  async reread(): Promise<void> {
    if (this.#events === null) return;
    try {
      const { items } = await api.cameras();
      this.#proof();
      this.cameras = items;
      this.loaded = true;
      this.#seen = performance.now();
      const first = items[0];
      if (first && !items.some((camera) => camera.name === this.selected)) this.select(first.name);
      else void this.roll?.refresh();
    } catch {
      void this.check();
    }
  }

  /** Asks whether the station is there; while it is not, asks again with back-off. */
  check = async (): Promise<void> => {
    if (this.#checking || this.#events === null) return;
    this.#checking = true;
    clearTimeout(this.#timer);
    let wait = HEALTH_MS;
    try {
      await api.health();
      this.#proof();
      this.#backoff.reset();
    } catch {
      if (performance.now() - this.#lastHeard > PROOF_MS || this.lost) wait = this.#unreachable();
    }
    this.#checking = false;
    if (this.#events === null) return;
    this.#timer = setTimeout(() => void this.check(), wait);
  };

  #look(name: string): void {
    this.watch = new Watch(name, this.#proof, this.#socketLost, this.#refused);
  }

  #refused = (code: number): void => {
    if (code === NO_LOGIN || code === NOT_ALLOWED) this.strange();
  };

  #unreachable(): number {
    const wait = this.#backoff.next();
    const since = this.lost?.since ?? new Date(Date.now() - (performance.now() - this.#lastHeard));
    this.lost = { since, retryAt: performance.now() + wait };
    this.watch?.drop("no connection to the station");
    this.#events?.drop("no connection to the station");
    return wait;
  }

  #socketLost = (): void => {
    if (this.lost === null) void this.check();
  };

  #proof = (): void => {
    this.#lastHeard = performance.now();
    if (this.lost === null) return;
    this.lost = null;
    this.watch?.retryNow();
    this.#events?.retryNow();
  };

  #heard = (event: StationEvent): void => {
    this.#proof();
    this.said(event);
    this.roll?.heard(event);
    for (const ear of this.#ears) ear(event);
    const who = event.camera ?? "";
    switch (event.kind) {
      case "camera_changed":
        this.cameras = this.cameras.map((camera) => (camera.name === event.data.name ? event.data : camera));
        if (event.data.name === this.selected) this.#seen = performance.now();
        break;
      case "capture_failed":
        notices.problem(`${who}: a picture failed`, event.message);
        break;
      case "develop_failed":
        notices.problem(`${who}: a picture could not be developed`, event.message);
        break;
      case "product_failed":
        notices.problem(`${who}: the ${event.product} of ${event.day} failed`, event.message);
        break;
      case "clip_failed":
        notices.problem(`${who}: a clip failed`, event.message);
        break;
      case "camera_recovered":
        notices.info(`${who} is back`, `It was away for ${Math.round(event.down_s)} s.`);
        break;
      case "storage_low":
        notices.problem("The disk is almost full", `${bytes(event.free_bytes)} (${event.free_percent.toFixed(1)} %) are left: ${event.message}.`);
        break;
      case "host_alarm":
        if (event.active) notices.problem(event.message, "", `host ${event.what}`);
        else notices.over(`host ${event.what}`);
        break;
      case "storage_full":
        notices.problem("The disk is full", event.message);
    }
  };

  #tick(): void {
    this.now = performance.now();
    this.watch?.publish(this.now);
  }
}

export const station = new Station();
