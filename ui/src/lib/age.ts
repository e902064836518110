/** How old the picture is, and from when on it may no longer be called live. */

/**
 * Turns a frame's age at publication into its age at arrival.
 *
 * A slow link keeps frames in its buffers: they arrive late but were young when published. The
 * shortest delay seen on this connection is the yardstick (the two clocks need not agree); what a
 * frame needed beyond it is added to its age. One per connection.
 */
export class ArrivalClock {
  #shortest = Infinity;

  /** The hello message was sent at `serverTime` (ms, server clock) and arrived at `now` (ms, own clock). */
  hello(serverTime: number, now: number): void {
    if (Number.isFinite(serverTime)) this.#shortest = Math.min(this.#shortest, now - serverTime);
  }

  /** How much longer than the shortest this message took, in ms. */
  excess(publishedAt: number, now: number): number {
    if (!Number.isFinite(publishedAt)) return 0;
    const delay = now - publishedAt;
    this.#shortest = Math.min(this.#shortest, delay);
    return delay - this.#shortest;
  }
}

/**
 * Whether a picture whose shutter opened `ageS` ago is too old to be called live.
 *
 * The limit, max(0.5 s, exposure + 1 s), counts from when the shutter closed: the next frame of a
 * 30 s exposure cannot arrive before this one is 60 s old.
 */
export function isStale(ageS: number, exposureS: number | null): boolean {
  const exposure = exposureS ?? 0;
  return ageS - exposure > Math.max(0.5, exposure + 1);
}
