/** What a page that is loaded anew, or was put away by a phone, remembers of the control it had. One tab's own. */

export interface Kept {
  camera: string;
  epoch: number | null;
}

const PREFIX = "cupola.control.";
/** After this long it is not the same sitting any more. */
const FORGET_MS = 10 * 60_000;

/** Null where the browser keeps nothing. */
export function tabStore(): Storage | null {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}

type Store = Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length">;

export function remember({ camera, epoch }: Kept, store: Store | null = tabStore(), now = Date.now()): void {
  if (epoch === null) store?.removeItem(PREFIX + camera);
  else store?.setItem(PREFIX + camera, `${epoch} ${now}`);
}

export function recall(store: Store | null = tabStore(), now = Date.now()): { camera: string; epoch: number }[] {
  const found: { camera: string; epoch: number }[] = [];
  for (let i = 0; store && i < store.length; i++) {
    const key = store.key(i);
    if (!key?.startsWith(PREFIX)) continue;
    const [epoch, at] = (store.getItem(key) ?? "").split(" ").map(Number);
    if (Number.isInteger(epoch) && now - (at ?? 0) < FORGET_MS) found.push({ camera: key.slice(PREFIX.length), epoch: epoch! });
  }
  return found;
}
