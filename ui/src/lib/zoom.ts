/** Pinch, wheel and drag on the picture; taps are told, not acted on. */

export interface Transform {
  scale: number;
  x: number;
  y: number;
}

export const IDENTITY: Transform = { scale: 1, x: 0, y: 0 };
const MOST = 12;
const TAP_MS = 300;
const TAP_PX = 24;

/** Scales by `factor` around a point given relative to the centre of the stage. */
export function zoomAround(t: Transform, factor: number, x: number, y: number): Transform {
  const scale = Math.min(MOST, Math.max(1, t.scale * factor));
  if (scale === 1) return IDENTITY;
  const k = scale / t.scale;
  return { scale, x: x - (x - t.x) * k, y: y - (y - t.y) * k };
}

/** Keeps the picture from being dragged out of sight. */
export function within(t: Transform, box: { width: number; height: number }, stage: { width: number; height: number }): Transform {
  const limit = (picture: number, view: number): number => Math.max(0, (picture * t.scale - view) / 2);
  const clamp = (value: number, most: number): number => Math.min(most, Math.max(-most, value));
  return { scale: t.scale, x: clamp(t.x, limit(box.width, stage.width)), y: clamp(t.y, limit(box.height, stage.height)) };
}

interface Hooks {
  get(): Transform;
  set(t: Transform): void;
  /** Relative to the middle of the stage. */
  tap(x: number, y: number): void;
  doubleTap(): void;
}

export function gestures(node: HTMLElement, on: Hooks): () => void {
  const fingers = new Map<number, { x: number; y: number }>();
  let lastTap = { at: 0, x: 0, y: 0 };
  let moved = false;

  const centred = (event: { clientX: number; clientY: number }): { x: number; y: number } => {
    const box = node.getBoundingClientRect();
    return { x: event.clientX - box.left - box.width / 2, y: event.clientY - box.top - box.height / 2 };
  };
  const spread = (): { x: number; y: number; distance: number } => {
    const points = [...fingers.values()];
    const [a, b = a] = points as [{ x: number; y: number }, { x: number; y: number } | undefined];
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, distance: Math.hypot(a.x - b.x, a.y - b.y) };
  };

  const down = (event: PointerEvent): void => {
    if (event.button !== 0) return;
    node.setPointerCapture(event.pointerId);
    if (fingers.size === 0) moved = false;
    fingers.set(event.pointerId, centred(event));
  };
  const move = (event: PointerEvent): void => {
    const from = fingers.get(event.pointerId);
    if (!from) return;
    const to = centred(event);
    if (Math.hypot(to.x - from.x, to.y - from.y) > 4 || fingers.size > 1) moved = true;
    const before = spread();
    fingers.set(event.pointerId, to);
    const after = spread();
    let t = on.get();
    if (fingers.size > 1 && before.distance > 0) t = zoomAround(t, after.distance / before.distance, after.x, after.y);
    if (t.scale > 1 || fingers.size === 1) on.set({ ...t, x: t.x + after.x - before.x, y: t.y + after.y - before.y });
    else on.set(t);
  };
  const up = (event: PointerEvent): void => {
    if (!fingers.delete(event.pointerId) || moved || event.type === "pointercancel") return;
    const { x, y } = centred(event);
    const twice = event.timeStamp - lastTap.at < TAP_MS && Math.hypot(x - lastTap.x, y - lastTap.y) < TAP_PX;
    lastTap = { at: twice ? 0 : event.timeStamp, x, y };
    if (twice) on.doubleTap();
    else on.tap(x, y);
  };
  const wheel = (event: WheelEvent): void => {
    event.preventDefault();
    const { x, y } = centred(event);
    on.set(zoomAround(on.get(), Math.exp(-event.deltaY / 400), x, y));
  };

  node.addEventListener("pointerdown", down);
  node.addEventListener("pointermove", move);
  node.addEventListener("pointerup", up);
  node.addEventListener("pointercancel", up);
  node.addEventListener("wheel", wheel, { passive: false });
  return () => {
    node.removeEventListener("pointerdown", down);
    node.removeEventListener("pointermove", move);
    node.removeEventListener("pointerup", up);
    node.removeEventListener("pointercancel", up);
    node.removeEventListener("wheel", wheel);
  };
}
