/** Where somebody stands: before the page, or in. */
import type { Me } from "./api";

export type Door =
  | { at: "opening" }
  | { at: "unreachable"; retryAt: number }
  | { at: "unclaimed" }
  | { at: "login"; why: string }
  | { at: "in" };

/** A browser that is told twice within this time that it is nobody is asked to log in, whatever /api/me says: no loops. */
const AGAIN_MS = 10_000;

/**
 * What to do when the station did not know this browser, and says `me` when asked (null: no answer).
 * `renew`: another window has logged in anew, or the passphrase was changed here; go on with that.
 */
export function expiry(me: Me | null, sinceRenewedMs: number): { door: Door; renew: boolean } {
  if (me && !me.claimed) return { door: { at: "unclaimed" }, renew: false };
  if (me?.user && sinceRenewedMs > AGAIN_MS) return { door: { at: "in" }, renew: true };
  return { door: { at: "login", why: "You are logged out: the session ran out or was ended. After the login you are back here." }, renew: false };
}
