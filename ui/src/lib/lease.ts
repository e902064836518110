/**
 * Control of one camera as this page has it: taken, renewed while the page is in sight, lost, and taken back.
 * Who may try, and who has control now, is the station's to say; what is shown is `control.svelte.ts`'s.
 */
import type { Control, Holder } from "./api";
import type { Answer, StationEvent } from "./events";

export const RENEW_MS = 5000;

/** `held`: by this page, as far as it knows. `lapsed`: it was, and nobody was asked since. */
export type Phase = "none" | "held" | "lapsed";

/** Why this page has no control any more. */
export type Loss = { how: "other"; holder: Holder } | { how: "window" };

export interface Surroundings {
  /** Says it over the event socket; false while that is not open. */
  say(message: { type: "renew"; camera: string; epoch: number }): boolean;
  acquire(camera: string, takeOver: boolean): Promise<Control>;
  release(camera: string, epoch: number): Promise<unknown>;
  look(camera: string): Promise<Control | null>;
  /** Id of this browser's login. */
  session(): string | null;
  /** Whether somebody looks at the page. */
  visible(): boolean;
  /** Also at each renewal. `epoch` is null without control, `phase` tells whether it is wanted back. */
  changed(epoch: number | null, phase: Phase): void;
  lost(loss: Loss): void;
}

export class Lease {
  #phase: Phase = "none";
  #epoch: number | null = null;
  #settling = false;

  constructor(
    readonly camera: string,
    private readonly around: Surroundings,
  ) {}

  get phase(): Phase {
    return this.#phase;
  }

  /** The epoch to send along; null without control. */
  get epoch(): number | null {
    return this.#phase === "held" ? this.#epoch : null;
  }

  /** Goes on with what the page had before it was loaded anew. */
  resume(epoch: number): void {
    this.#set("held", epoch);
    this.renew();
  }

  /** Throws what the station answers when it cannot be had. */
  async take(takeOver: boolean): Promise<void> {
    this.#confirmed(await this.around.acquire(this.camera, takeOver));
  }

  async giveBack(): Promise<void> {
    const epoch = this.#epoch;
    this.#set("none", null);
    if (epoch !== null) await this.around.release(this.camera, epoch);
  }

  /** Every five seconds, on return to the page, and when the socket has opened. */
  renew(): void {
    if (!this.around.visible()) return;
    if (this.#phase === "lapsed") void this.settle();
    else if (this.#phase === "held" && this.#epoch !== null) this.around.say({ type: "renew", camera: this.camera, epoch: this.#epoch });
  }

  answered(answer: Answer): void {
    if (this.#phase !== "held") return;
    if (answer.type === "problem") {
      if (answer.camera === undefined || answer.camera === this.camera) void this.settle();
    } else if (answer.camera === this.camera && answer.epoch === this.#epoch) this.#set("held", this.#epoch);
  }

  heard(event: StationEvent): void {
    if (event.kind !== "session_event" || event.camera !== this.camera) return;
    const ours = event.session_id === this.around.session();
    if (event.action === "control_forced" && ours) {
      if (this.around.visible()) void this.take(false).catch(() => this.settle());
    } else if (this.#phase === "none") return;
    else if (event.action === "control_expired" && ours) this.#lapse();
    else if ((event.action === "control_taken" || event.action === "control_forced") && !ours) void this.settle();
  }

  /** Asks the station who has control, and takes it back if nobody has. For a page that thought that it had it. */
  async settle(): Promise<void> {
    if (this.#settling || this.#phase === "none") return;
    if (!this.around.visible()) return this.#set("lapsed", this.#epoch);
    this.#settling = true;
    try {
      const now = await this.around.look(this.camera);
      if (now?.mine && now.epoch === this.#epoch) this.#confirmed(now);
      else if (now?.mine) this.#lose({ how: "window" });
      else if (now?.holder) this.#lose({ how: "other", holder: now.holder });
      else if (now) this.#confirmed(await this.around.acquire(this.camera, false));
      else this.#set("none", null); // the station has no such camera any more
    } catch {
      this.#set("lapsed", this.#epoch); // no answer, or somebody was faster: the next renewal looks again
    } finally {
      this.#settling = false;
    }
  }

  #lapse(): void {
    this.#set("lapsed", this.#epoch);
    if (this.around.visible()) void this.settle();
  }

  #confirmed(control: Control): void {
    this.#set("held", control.epoch ?? null);
  }

  #lose(loss: Loss): void {
    this.#set("none", null);
    this.around.lost(loss);
  }

  #set(phase: Phase, epoch: number | null): void {
    this.#phase = phase;
    this.#epoch = epoch;
    this.around.changed(this.epoch, phase);
  }
}
