/** Watching one camera: the newest picture's facts for the page, and the canvas it is drawn on. */
import { isStale } from "./age";
import type { Picture } from "./decode";
import type { FrameHeader, LiveState } from "./framing";
import type { LinkState } from "./link";
import { LiveStream } from "./live";
import { notices } from "./notices.svelte";

const RATE_MS = 4000;

export class Watch {
  /** The newest picture drawn; published a few times a second, not for every frame. */
  header = $state.raw<FrameHeader | null>(null);
  openedNow = $state.raw(0);
  size = $state.raw<{ width: number; height: number } | null>(null);
  rate = $state.raw<number | null>(null);
  link = $state.raw<LinkState>({ phase: "connecting" });
  said = $state.raw<LiveState | null>(null);
  /** How far the station's clock is ahead of performance.timeOrigin + performance.now(). */
  serverAheadMs = $state.raw<number | null>(null);

  #newest: [FrameHeader, number] | null = null;
  #drawn: number[] = [];
  #draw: ((picture: Picture) => void) | null = null;
  #stream: LiveStream;

  constructor(
    camera: string,
    heard: () => void,
    lost: () => void,
    refused: (code: number) => void,
  ) {
    this.#stream = new LiveStream(camera, {
      picture: (picture, header, openedNow) => {
        heard();
        this.#show(picture, header, openedNow);
        picture.close();
      },
      hello: (hello) => {
        heard();
        const ahead = Date.parse(hello.server_time) - (performance.timeOrigin + performance.now());
        this.serverAheadMs = Number.isFinite(ahead) ? ahead : null;
      },
      state: (state) => {
        heard();
        this.said = state;
      },
      link: (state) => {
        this.link = state;
        if (state.phase === "waiting") lost();
        if (state.phase === "refused") refused(state.code);
      },
      damaged: (why) => notices.info("Picture not shown", why),
    });
  }

  drawOn(draw: (picture: Picture) => void): void {
    this.#draw = draw;
  }

  /** Called on every tick of the page. */
  publish(now: number): void {
    if (this.#newest) [this.header, this.openedNow] = this.#newest;
    this.#drawn = this.#drawn.filter((at) => now - at < RATE_MS);
    const first = this.#drawn[0];
    const last = this.#drawn.at(-1);
    this.rate = first !== undefined && last !== undefined && last > first ? ((this.#drawn.length - 1) * 1000) / (last - first) : null;
  }

  retryNow(): void {
    this.#stream.retryNow();
  }

  drop(reason: string): void {
    this.#stream.drop(reason);
  }

  end(): void {
    this.#stream.end();
  }

  #show(picture: Picture, header: FrameHeader, openedNow: number): void {
    const now = performance.now();
    const width = "displayWidth" in picture ? picture.displayWidth : picture.width;
    const height = "displayHeight" in picture ? picture.displayHeight : picture.height;
    const first = this.#newest === null;
    if (this.size?.width !== width || this.size.height !== height) this.size = { width, height };
    this.#newest = [header, openedNow];
    this.#drawn.push(now);
    this.#draw?.(picture);
    if (this.said && !isStale((now - openedNow) / 1000, header.exposure_s)) this.said = null;
    if (first) this.publish(now);
  }
}
