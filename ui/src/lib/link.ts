/**
 * A WebSocket that comes back: after a loss with back-off, at once when the network or the tab
 * returns. It sleeps while the tab has been hidden for 30 s. What is said over it is its user's.
 */
import { Backoff, judgeClose } from "./backoff";

export type LinkState =
  | { phase: "connecting" }
  | { phase: "open" }
  | { phase: "waiting"; retryAt: number; code: number; reason: string }
  | { phase: "refused"; code: number; reason: string }
  | { phase: "asleep" }
  | { phase: "ended" };

export interface LinkHandlers {
  address(): string | Promise<string>;
  text(message: string): void;
  binary?(message: ArrayBuffer): void;
  state(state: LinkState): void;
}

const HIDDEN_MS = 30_000;
const CONNECT_MS = 8_000;

export class Link {
  #socket: WebSocket | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #sleep: ReturnType<typeof setTimeout> | undefined;
  #backoff = new Backoff();
  #phase: LinkState["phase"] = "connecting";
  #attempt = 0;

  constructor(private readonly on: LinkHandlers) {
    document.addEventListener("visibilitychange", this.#visibility);
    addEventListener("online", this.retryNow);
    void this.#connect();
  }

  /** The connection proved useful: the next loss starts with a short wait again. */
  proved(): void {
    this.#backoff.reset();
  }

  /** Whether it could be said. */
  send(message: string): boolean {
    if (this.#phase !== "open" || this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(message);
    return true;
  }

  /** Ends the present socket, which may be dead without knowing, and connects again after the back-off. */
  drop(reason: string): void {
    if (this.#phase === "open" || this.#phase === "connecting") this.#lost(1006, reason);
  }

  /** Connects now if it was waiting to. */
  retryNow = (): void => {
    if (this.#phase === "waiting") void this.#connect();
  };

  end(): void {
    document.removeEventListener("visibilitychange", this.#visibility);
    removeEventListener("online", this.retryNow);
    clearTimeout(this.#sleep);
    this.#detach();
    this.#tell({ phase: "ended" });
  }

  async #connect(): Promise<void> {
    this.#detach();
    const attempt = ++this.#attempt;
    this.#tell({ phase: "connecting" });
    const address = await this.on.address();
    if (attempt !== this.#attempt || this.#phase !== "connecting") return;
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#lost(1006, "The station did not answer"), CONNECT_MS);
    socket.onopen = () => {
      clearTimeout(this.#timer);
      this.#tell({ phase: "open" });
    };
    socket.onmessage = (event: MessageEvent<string | ArrayBuffer>) => {
      if (typeof event.data === "string") this.on.text(event.data);
      else this.on.binary?.(event.data);
    };
    socket.onclose = (event) => this.#lost(event.code, event.reason);
  }

  #lost(code: number, reason: string): void {
    this.#detach();
    const verdict = judgeClose(code, reason);
    if (!verdict.retry) return this.#tell({ phase: "refused", code, reason: verdict.reason });
    const wait = Math.max(verdict.leastMs, this.#backoff.next());
    this.#timer = setTimeout(() => void this.#connect(), wait);
    this.#tell({ phase: "waiting", retryAt: performance.now() + wait, code, reason: verdict.reason });
  }

  #detach(): void {
    clearTimeout(this.#timer);
    this.#attempt += 1;
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #visibility = (): void => {
    clearTimeout(this.#sleep);
    if (!document.hidden) {
      if (this.#phase === "asleep" || this.#phase === "waiting") void this.#connect();
    } else if (this.#phase !== "refused" && this.#phase !== "ended") {
      this.#sleep = setTimeout(() => {
        this.#detach();
        this.#tell({ phase: "asleep" });
      }, HIDDEN_MS);
    }
  };

  #tell(state: LinkState): void {
    this.#phase = state.phase;
    this.on.state(state);
  }
}

export function socketAddress(path: string): string {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;
}
