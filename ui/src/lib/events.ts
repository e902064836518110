/** The station's event socket: what happened, as it happens. Only the kinds this page acts on. */
import type { CameraStatus, Control } from "./api";
import { Link, type LinkState, socketAddress } from "./link";

interface Base {
  at: string;
  camera: string | null;
}

export type StationEvent = Base &
  (
    | { kind: "camera_changed"; data: CameraStatus }
    | { kind: "image_captured"; id: number; sequence: number; opened_at: string; exposure_s: number | null; gain: number | null; session: number | null; day: string; period: number | null; path: string }
    | { kind: "image_developed"; id: number }
    | { kind: "develop_failed"; id: number; message: string }
    | { kind: "capture_failed"; message: string }
    | { kind: "night_started" | "night_finished" | "product_updated" | "product_finished" }
    | { kind: "product_failed"; product: string; day: string; message: string }
    | { kind: "clip_started" | "clip_saved"; id: number; label: string }
    | { kind: "clip_failed"; id: number; label: string; message: string }
    | { kind: "capture_stopped"; done: number; failed: number; reason: string }
    | { kind: "camera_recovered"; down_s: number; attempts: number }
    | { kind: "storage_low"; free_bytes: number; free_percent: number; message: string }
    | { kind: "host_alarm"; what: string; active: boolean; message: string; value: number | null; limit: number | null; unit: string }
    | { kind: "storage_full"; free_bytes: number; message: string }
    | { kind: "session_event"; action: string; session_id: string; user: string; detail: string }
  );

/** What the station answers to a message of this page. */
export type Answer = ({ type: "control" } & Control) | { type: "problem"; status: number; title: string; detail: string; camera?: string };

interface Ears {
  heard(event: StationEvent): void;
  answered(answer: Answer): void;
  state(state: LinkState): void;
}

export function listen(ears: Ears): Link {
  const link: Link = new Link({
    address: () => socketAddress("/ws/events"),
    text: (message) => {
      link.proved();
      const said = JSON.parse(message) as StationEvent | Answer;
      if ("type" in said) ears.answered(said);
      else ears.heard(said);
    },
    state: (state) => ears.state(state),
  });
  return link;
}
