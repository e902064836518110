/**
 * Who has control of which camera, for the page: what this one holds, what it may do, and who asks for it.
 * How a lease is kept is `lease.ts`; who is logged in is `access.svelte.ts`.
 */
import { access } from "./access.svelte";
import { type CameraStatus, api, hooks } from "./api";
import type { Answer, StationEvent } from "./events";
import { type Kept, recall, remember } from "./kept";
import { Lease, RENEW_MS } from "./lease";
import { notices } from "./notices.svelte";
import { station } from "./station.svelte";

/** A wish to have control stands this long: then nobody waits for it any more. */
const WISH_MS = 120_000;

const lossOf = (camera: string): string => `loss of control of ${camera}`;

class ControlDesk {
  /** By camera: what this page holds. */
  epochs = $state.raw<Readonly<Record<string, number>>>({});
  /** By camera: when this page asked the holder to give way. */
  wishes = $state.raw<Readonly<Record<string, number>>>({});
  #refused = $state.raw<readonly string[]>([]);
  #leases = new Map<string, Lease>();

  /** This page controls the camera that is shown. */
  mine = $derived(station.selected !== null && this.epochs[station.selected] !== undefined);
  holder = $derived(station.camera?.control.holder ?? null);
  /** Why what needs control cannot be done now; null when it can. */
  why = $derived.by((): string | null => {
    if (this.mine) return null;
    if (this.holder === null) return "Take control first: nobody has it.";
    return this.holder.session === access.me?.session ? "Another window of this browser has control." : `${this.holder.user} has control.`;
  });
  wished = $derived(station.selected !== null && station.now - (this.wishes[station.selected] ?? -Infinity) < WISH_MS);
  /** The first one who would like to have what this page holds. */
  request = $derived.by((): { camera: string; user: string; key: string } | null => {
    for (const camera of station.cameras) {
      if (this.epochs[camera.name] === undefined) continue;
      for (const asking of camera.control.requests ?? []) {
        const key = `${camera.name} ${asking.session} ${asking.at}`;
        if (!this.#refused.includes(key)) return { camera: camera.name, user: asking.user, key };
      }
    }
    return null;
  });

  constructor() {
    hooks.epoch = (camera) => this.epochs[camera];
    hooks.notInControl = (camera) => void this.#lease(camera).settle();
    station.opened = () => this.#renew();
    station.said = (said) => this.#said(said);
    station.strange = () => void access.expired();
    setInterval(() => this.#renew(), RENEW_MS);
    document.addEventListener("visibilitychange", () => this.#renew());
    for (const { camera, epoch } of recall()) this.#lease(camera).resume(epoch);
  }

  take(camera: CameraStatus, takeOver: boolean): Promise<boolean> {
    return notices.attempt("No control", () => this.#lease(camera.name).take(takeOver));
  }

  giveBack(camera: string): Promise<boolean> {
    return notices.attempt("Control not given back", () => this.#lease(camera).giveBack());
  }

  async ask(camera: string): Promise<void> {
    if (await notices.attempt("Not asked", () => api.askControl(camera))) this.wishes = { ...this.wishes, [camera]: performance.now() };
  }

  refuse(key: string): void {
    this.#refused = [...this.#refused.slice(-20), key];
  }

  #renew(): void {
    if (access.door.at !== "in") return;
    for (const lease of this.#leases.values()) lease.renew();
  }

  #said(said: StationEvent | Answer): void {
    if ("type" in said) {
      for (const lease of this.#leases.values()) lease.answered(said);
    } else if (said.kind === "session_event" && said.camera !== null) {
      this.#lease(said.camera).heard(said);
      if (said.action === "control_released" || said.action === "control_expired") this.#freed(said.camera);
    }
  }

  /** Whoever asked for it gets it, while they look at the page. */
  #freed(camera: string): void {
    const asked = this.wishes[camera];
    if (asked === undefined || performance.now() - asked > WISH_MS || document.hidden) return;
    this.#forget(camera);
    this.#lease(camera)
      .take(false)
      .then(() => notices.info(`You have control of ${camera} now`))
      .catch(() => undefined); // somebody else was faster: the page shows who
  }

  #forget(camera: string): void {
    const { [camera]: _, ...rest } = this.wishes;
    this.wishes = rest;
  }

  #lease(camera: string): Lease {
    const known = this.#leases.get(camera);
    if (known) return known;
    const lease = new Lease(camera, {
      say: (message) => station.say(message),
      acquire: api.acquire,
      release: api.release,
      look: async (name) => (await api.control()).items.find((item) => item.camera === name) ?? null,
      session: () => access.me?.session ?? null,
      visible: () => !document.hidden,
      changed: (epoch, phase) => this.#changed(camera, epoch, phase !== "none"),
      lost: (loss) =>
        loss.how === "window"
          ? notices.info(`Another window of this browser controls ${camera} now`)
          : notices.problem(`${loss.holder.user} has control of ${camera} now`, "This page has it no longer.", lossOf(camera)),
    });
    this.#leases.set(camera, lease);
    return lease;
  }

  #changed(camera: string, epoch: number | null, wanted: boolean): void {
    if (epoch !== null) remember({ camera, epoch } satisfies Kept);
    else if (!wanted) remember({ camera, epoch: null });
    if (this.epochs[camera] === (epoch ?? undefined)) return;
    if (epoch !== null) {
      this.#forget(camera);
      notices.over(lossOf(camera));
    }
    const { [camera]: _, ...rest } = this.epochs;
    this.epochs = epoch === null ? rest : { ...rest, [camera]: epoch };
    void station.reread();
  }
}

export const control = new ControlDesk();
