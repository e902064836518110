/**
 * Who is at this browser: nobody yet, somebody who is logged in, or one whose login has ended.
 * What the page knows of the station lives in `station.svelte.ts`, control of cameras in `control.svelte.ts`.
 */
import { type Me, api, hooks } from "./api";
import { Backoff } from "./backoff";
import { takeClaimCode } from "./claim";
import { type Door, expiry } from "./door";
import { tabStore } from "./kept";

const CLAIMED_MS = 5000;
const PLAIN = "cupola.plain-http";

class Access {
  me = $state.raw<Me | null>(null);
  door = $state.raw<Door>({ at: "opening" });
  /** From the printed link. In memory only. */
  code = $state.raw<string | null>(null);
  /** Counts the logins under which the page's connections were opened. */
  login = $state.raw(0);
  plainDismissed = $state((tabStore()?.getItem(PLAIN) ?? null) !== null);

  /** May take control, as far as the role goes. */
  mayControl = $derived(this.me?.role === "master" || this.me?.role === "admin");
  isAdmin = $derived(this.me?.role === "admin");

  #backoff = new Backoff(1000);
  #timer: ReturnType<typeof setTimeout> | undefined;
  #changing: Promise<unknown> = Promise.resolve();
  #renewedAt = -Infinity;
  #checking = false;
  /** A passphrase is made, or shown that nobody can see again: nothing may take it away. */
  #showing = false;
  /** Whom this page has shown something to. */
  #shownTo: string | null = null;

  constructor() {
    this.#fragment();
    addEventListener("hashchange", () => this.#fragment());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.door.at !== "in") void this.look();
    });
    hooks.strange = () => void this.expired();
    void this.look();
  }

  /** Asks the station who this is. */
  look = async (): Promise<void> => {
    clearTimeout(this.#timer);
    if (this.#showing) return;
    try {
      const me = await api.me();
      if (this.#showing) return;
      this.#backoff.reset();
      if (me.user) return this.#enter(me);
      this.me = me;
      if (!me.claimed) {
        this.door = { at: "unclaimed" };
        this.#timer = setTimeout(this.look, CLAIMED_MS); // somebody may claim it in a terminal
      } else if (this.door.at !== "login") this.door = { at: "login", why: this.code === null ? "" : "This station is claimed already. Log in." };
    } catch {
      if (this.door.at === "login") return;
      const wait = this.#backoff.next();
      this.door = { at: "unreachable", retryAt: performance.now() + wait };
      this.#timer = setTimeout(this.look, wait);
    }
  };

  /** A request or a socket was told that nobody is logged in. Asks once whether that is so, then for a login. */
  expired = async (): Promise<void> => {
    if (this.door.at !== "in" || this.#checking) return;
    this.#checking = true;
    await this.#changing.catch(() => undefined);
    const me = await api.me().catch(() => null);
    this.#checking = false;
    const { door, renew } = expiry(me, performance.now() - this.#renewedAt);
    if (renew && me) {
      this.#renewedAt = performance.now();
      return this.#enter(me);
    }
    this.door = door;
    if (door.at === "unclaimed") void this.look();
  };

  /** Throws ApiProblem. */
  async logIn(user: string, passphrase: string, remember: boolean): Promise<void> {
    await api.login(user, passphrase, remember);
    const me = await api.me();
    if (!me.user) throw new Error("The login was right, but this browser did not keep it. Allow cookies for this address and try again.");
    this.#enter(me);
  }

  /** The passphrase, if the station made one. Throws ApiProblem. */
  async claim(code: string, user: string, passphrase: string | null): Promise<string | null> {
    this.#showing = passphrase === null;
    try {
      const { generated } = await api.claim(code, user, passphrase);
      this.code = null;
      if (!generated) await this.claimed();
      return generated ?? null;
    } catch (error) {
      this.#showing = false;
      this.#timer = setTimeout(this.look, CLAIMED_MS);
      throw error;
    }
  }

  /** The new passphrase was seen. */
  async claimed(): Promise<void> {
    this.#showing = false;
    await this.look();
  }

  /** Ends this login and forgets everything that the page has shown. Throws ApiProblem. */
  async logOut(): Promise<void> {
    await api.logout();
    location.reload();
  }

  /** All sockets end with the old login, before or after the answer: neither is a reason to ask for the login. Throws ApiProblem. */
  async changePassphrase(old: string, wanted: string): Promise<void> {
    const done = api.changePassphrase(old, wanted);
    this.#changing = done;
    await done;
  }

  dismissPlain(): void {
    this.plainDismissed = true;
    tabStore()?.setItem(PLAIN, "dismissed");
  }

  /** Somebody else than before gets a page of their own. */
  #enter(me: Me): void {
    if (this.#shownTo !== null && this.#shownTo !== me.user) return location.reload();
    this.#shownTo = me.user ?? null;
    clearTimeout(this.#timer);
    this.me = me;
    this.code = null;
    this.login += 1;
    this.door = { at: "in" };
  }

  /** For the login: whoever was here before. */
  get lastUser(): string {
    return this.#shownTo ?? "";
  }

  #fragment(): void {
    const code = takeClaimCode(location, history);
    if (code === null || this.#showing || this.door.at === "in") return;
    this.code = code;
    if (this.door.at !== "opening") void this.look();
  }
}

export const access = new Access();
