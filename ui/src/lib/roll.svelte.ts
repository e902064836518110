/** The newest images of one camera, kept in step with the events. */
import { type Capture, api } from "./api";
import type { StationEvent } from "./events";

const MOST = 600;

export class Roll {
  /** Newest first. */
  items = $state.raw<Capture[]>([]);
  next = $state.raw<string | null>(null);
  loading = $state(false);
  failed = $state(false);

  constructor(readonly camera: string) {}

  /** Reads the newest page again and keeps what was loaded beyond it. */
  async refresh(): Promise<void> {
    await this.#load(null);
  }

  async older(): Promise<void> {
    if (this.next !== null && !this.loading) await this.#load(this.next);
  }

  heard(event: StationEvent): void {
    if (event.camera !== this.camera) return;
    if (event.kind === "image_captured") {
      this.#merge([
        { id: event.id, camera: this.camera, sequence: event.sequence, opened_at: event.opened_at, ended_at: null, exposure_s: event.exposure_s,
          gain: event.gain, f_number: null, temperature_c: null, width: null, height: null, session: event.session, day: event.day, period: event.period,
          correction: null, developed: false, failure: null, files: [] },
      ]);
    } else if (event.kind === "image_developed" || event.kind === "develop_failed") {
      void this.reread(event.id);
    }
  }

  async reread(id: number): Promise<void> {
    try {
      this.#merge([await api.capture(id)]);
    } catch {
      this.failed = true; // the next refresh, at the latest when the connection is back, brings it
    }
  }

  async #load(after: string | null): Promise<void> {
    this.loading = true;
    try {
      const page = await api.captures(this.camera, after);
      const oldest = this.items.at(-1)?.id ?? Infinity;
      this.#merge(page.items);
      if (after !== null || (page.items.at(-1)?.id ?? Infinity) <= oldest) this.next = page.next;
      this.failed = false;
    } catch {
      this.failed = true;
    } finally {
      this.loading = false;
    }
  }

  #merge(news: Capture[]): void {
    const all = new Map(this.items.map((item) => [item.id, item]));
    for (const item of news) {
      const known = all.get(item.id);
      if (!known || item.files.length >= known.files.length) all.set(item.id, item);
    }
    this.items = [...all.values()].sort((a, b) => b.id - a.id).slice(0, MOST);
  }
}
