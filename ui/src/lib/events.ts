/** The station's event socket: what happened, as it happens. Only the kinds this page acts on. */
import type { CameraStatus } from "./api";
import { Link, type LinkState, socketAddress } from "./link";

interface Base {
  at: string;
  camera: string | null;
}

export type StationEvent = Base &
  (
    | { kind: "camera_changed"; data: CameraStatus }
    | { kind: "image_captured"; id: number; sequence: number; opened_at: string; exposure_s: number | null; gain: number | null; session: number | null; path: string }
    | { kind: "image_developed"; id: number }
    | { kind: "develop_failed"; id: number; message: string }
    | { kind: "capture_failed"; message: string }
    | { kind: "capture_stopped"; done: number; failed: number; reason: string }
    | { kind: "camera_recovered"; down_s: number; attempts: number }
    | { kind: "storage_low"; free_bytes: number; free_percent: number }
    | { kind: "storage_full"; free_bytes: number; message: string }
  );

export function listen(heard: (event: StationEvent) => void, changed: (state: LinkState) => void): Link {
  const link: Link = new Link({
    address: () => socketAddress("/ws/events"),
    text: (message) => {
      link.proved();
      heard(JSON.parse(message) as StationEvent);
    },
    state: changed,
  });
  return link;
}
