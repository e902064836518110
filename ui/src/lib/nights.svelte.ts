/** What the schedule made and will make of one camera: its nights, what grew of them, its clips. Read when it is shown. */
import { type Clip, type Period, type Product, type Trigger, api } from "./api";
import type { StationEvent } from "./events";

const SHOWN = 8;
/** Events that change what is shown here. */
const KINDS: readonly string[] = ["night_started", "night_finished", "product_updated", "product_finished", "product_failed", "clip_started", "clip_saved", "clip_failed"];
const UPDATE_MS = 10_000;

export class Nights {
  periods = $state.raw<Period[] | null>(null);
  products = $state.raw<Product[]>([]);
  clips = $state.raw<Clip[]>([]);
  /** What makes clips by itself: of the whole station. */
  triggers = $state.raw<Trigger[]>([]);
  chosen = $state.raw<Period | null>(null);
  /** The disk's forecast, in words. */
  disk = $state.raw<string | null>(null);
  /** How streaming to Redis does, in words. */
  redis = $state.raw<string | null>(null);
  failed = $state(false);
  /** Part of the pictures' addresses, so that a grown one is fetched anew. */
  version = $state(0);

  #reading = false;
  #again = 0;

  constructor(readonly camera: string) {}

  async read(): Promise<void> {
    if (this.#reading) return;
    this.#reading = true;
    try {
      const [nights, clips, status] = await Promise.all([api.nights(this.camera, SHOWN), api.clips(this.camera, SHOWN), api.status()]);
      this.periods = nights.items;
      this.clips = clips.items;
      this.triggers = status.triggers;
      this.disk = status.retention.words;
      this.redis = status.redis?.words ?? null;
      const kept = this.periods.find((period) => period.id === this.chosen?.id);
      await this.choose(kept ?? this.periods[0] ?? null);
      this.failed = false;
    } catch {
      this.failed = true;
    }
    this.#reading = false;
  }

  async readClips(): Promise<void> {
    try {
      this.clips = (await api.clips(this.camera, SHOWN)).items;
    } catch {
      this.failed = true;
    }
  }

  async choose(period: Period | null): Promise<void> {
    this.chosen = period;
    this.products = period ? (await api.products(period)).items : [];
    this.version++;
  }

  heard(event: StationEvent | { kind: string; camera: string | null }): void {
    if (event.camera !== this.camera || !KINDS.includes(event.kind)) return;
    const wait = event.kind === "product_updated" ? UPDATE_MS : 0;
    if (performance.now() - this.#again < wait) return;
    this.#again = performance.now();
    void this.read();
  }
}
