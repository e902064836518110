/** How long to wait before the next attempt: 0.5, 1, 2, 4, 5, 5 … s, spread a little. */
export class Backoff {
  #attempt = 0;

  constructor(
    private readonly firstMs = 500,
    private readonly lastMs = 5000,
    private readonly random: () => number = Math.random,
  ) {}

  get attempt(): number {
    return this.#attempt;
  }

  /** Up to 20 % less than the full step, so that many pages do not come back in one moment. */
  next(): number {
    const full = Math.min(this.lastMs, this.firstMs * 2 ** this.#attempt);
    this.#attempt += 1;
    return full * (1 - 0.2 * this.random());
  }

  reset(): void {
    this.#attempt = 0;
  }
}

export type Verdict =
  | { retry: true; leastMs: number; reason: string }
  | { retry: false; reason: string };

/** What the end of a socket means for the person and for the next attempt. */
export function judgeClose(code: number, reason: string): Verdict {
  switch (code) {
    case 1013:
      return { retry: true, leastMs: 3000, reason: reason || "The station cannot serve another viewer now" };
    case 4401:
      return { retry: false, reason: reason || "Log in to watch this camera" };
    case 4403:
      return { retry: false, reason: reason || "You are not allowed to watch this camera" };
    case 4404:
      return { retry: false, reason: reason || "The station has no such camera" };
    default:
      return { retry: true, leastMs: 0, reason };
  }
}
