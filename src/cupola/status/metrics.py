"""The metrics of Prometheus: every name there is, made from the status document alone.

So the main server (through prometheus-client) and the status server (as text, from the file) have the same ones. Standard library only.
A document that is stale tells nothing of the station but that: a temperature of an hour ago is none.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    Labels = dict[str, str]
    Sample = tuple[str, Labels, float]  # suffix of the name, labels, value
    Values = Iterable[tuple[Labels, float | None]]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FOREVER_S = 1e9  # said instead of infinity


class Family:
    """All samples of one name. `kind`: counter, gauge or histogram; a counter's name ends in `_total`."""

    __slots__ = ("help", "kind", "name", "samples")

    def __init__(self, name: str, kind: str, help: str, samples: list[Sample]) -> None:
        self.name, self.kind, self.help, self.samples = name, kind, help, samples


def families(document: dict[str, Any] | None, age_s: float, *, stale: bool) -> list[Family]:
    """Those that have a sample. `age_s`: how long ago the document was made; None: there is none."""
    device = {"device": str(document["device_id"])} if document else {}
    found = [
        Family("cupola_up", "gauge", "Whether the main server runs and tells how it is.", [("", device, 0.0 if stale or not document else 1.0)]),
        Family("cupola_status_age_seconds", "gauge", "Age of what the main server told last.", [("", device, min(age_s, FOREVER_S))]),
    ]
    if document is None or stale:
        return found
    for name, kind, words, values in _STATION:
        found.append(Family(name, kind, words, [("", {**device, **labels}, float(value)) for labels, value in values(document) if value is not None]))
    if (redis := document.get("redis")) is not None:
        for name, kind, words, values in _REDIS:
            found.append(
                Family(name, kind, words, [("", {**device, **labels}, float(value)) for labels, value in values(redis) if value is not None])
            )
    cameras: dict[str, dict[str, Any]] = document["cameras"]
    for name, kind, words, values in _CAMERA:
        samples: list[Sample] = []
        for camera, facts in cameras.items():
            samples += [("", {**device, "camera": camera, **labels}, float(value)) for labels, value in values(facts, age_s) if value is not None]
        found.append(Family(name, kind, words, samples))
    durations = [
        sample for camera, facts in cameras.items() for sample in _histogram({**device, "camera": camera}, facts.get("capture_duration_seconds"))
    ]
    words = "From the opening of the shutter until the image was safe on disk and in the catalogue."
    found.append(Family("cupola_capture_duration_seconds", "histogram", words, durations))
    return [family for family in found if family.samples]


def text(found: list[Family]) -> str:
    """In the text format of Prometheus, version 0.0.4."""
    lines: list[str] = []
    for family in found:
        lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
        for suffix, labels, value in family.samples:
            inside = ",".join(f'{name}="{_escaped(word)}"' for name, word in labels.items())
            lines.append(f"{family.name}{suffix}{{{inside}}} {_number(value)}" if inside else f"{family.name}{suffix} {_number(value)}")
    return "\n".join(lines) + "\n"


def _escaped(word: str) -> str:
    return word.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _histogram(labels: Labels, facts: dict[str, Any] | None) -> Iterator[Sample]:
    if facts is None:
        return
    sofar = 0
    for bound, count in facts["buckets"]:
        sofar += count
        yield "_bucket", {**labels, "le": str(float(bound))}, float(sofar)
    yield "_bucket", {**labels, "le": "+Inf"}, float(facts["count"])
    yield "_sum", labels, float(facts["sum"])
    yield "_count", labels, float(facts["count"])


def _one(key: str) -> Callable[[dict[str, Any]], Values]:
    return lambda facts: [({}, facts.get(key))]


def _each(key: str, label: str) -> Callable[[dict[str, Any]], Values]:
    return lambda facts: [({label: name}, value) for name, value in facts.get(key, {}).items()]


def _fact(key: str) -> Callable[[dict[str, Any], float], Values]:
    return lambda facts, age_s: [({}, facts.get(key))]


def _facts(key: str, label: str) -> Callable[[dict[str, Any], float], Values]:
    return lambda facts, age_s: [({label: name}, value) for name, value in facts.get(key, {}).items()]


def _grown(key: str) -> Callable[[dict[str, Any], float], Values]:
    """An age, which has grown since the document was made."""
    return lambda facts, age_s: [({}, None if facts.get(key) is None else facts[key] + age_s)]


def _streams(key: str) -> Callable[[dict[str, Any]], Values]:
    return lambda redis: [({"stream": name}, facts[key]) for name, facts in redis["streams"].items()]


def _live(redis: dict[str, Any]) -> Values:
    return [({"camera": name, "outcome": one}, facts[one]) for name, facts in redis["live"].items() for one in ("delivered", "dropped")]


_STATION: list[tuple[str, str, str, Callable[[dict[str, Any]], Values]]] = [
    ("cupola_build_info", "gauge", "1, with the version of Cupola as a label.", lambda facts: [({"version": facts["version"]}, 1)]),
    ("cupola_uptime_seconds", "gauge", "Since the start of the machine.", _one("uptime_seconds")),
    ("cupola_disk_usage_percent", "gauge", "Used share of the disk of the images.", _one("disk_percent")),
    ("cupola_disk_free_bytes", "gauge", "Free space on the disk of the images.", _one("disk_free_bytes")),
    ("cupola_cpu_temperature_celsius", "gauge", "Temperature of the processor.", _one("cpu_temperature_celsius")),
    ("cupola_sensor_temperature_celsius", "gauge", "Newest temperature of a sensor.", _each("sensors", "sensor")),
    ("cupola_errors_current", "gauge", "Problems that are not solved.", lambda facts: [({}, len(facts["errors"]))]),
    ("cupola_active_captures", "gauge", "Cameras with a running series of stills.", _one("active_captures")),
    ("cupola_darkroom_waiting_images", "gauge", "Images that wait to be developed.", _one("images_waiting")),
]
_REDIS: list[tuple[str, str, str, Callable[[dict[str, Any]], Values]]] = [
    ("cupola_redis_connected", "gauge", "Whether Redis takes what is streamed.", lambda redis: [({}, redis["state"] == "connected")]),
    ("cupola_redis_spool_records", "gauge", "Records that no receiver has confirmed.", _streams("spool_records")),
    ("cupola_redis_spool_bytes", "gauge", "What they take on disk.", _streams("spool_bytes")),
    ("cupola_redis_spool_fill_percent", "gauge", "Of what the spool may hold.", _one("fill_percent")),
    ("cupola_redis_spool_full_seconds", "gauge", "Until the spool is full, if it goes on filling as it does now.", _one("full_in_seconds")),
    ("cupola_redis_oldest_seconds", "gauge", "Age of the oldest record that no receiver has confirmed.", _streams("oldest_seconds")),
    ("cupola_redis_published_total", "counter", "Records that Redis took, since the server's start.", _streams("published")),
    ("cupola_redis_lost_total", "counter", "Events, stills and clips that could not be streamed, since the server's start.", _streams("lost")),
    ("cupola_redis_live_total", "counter", "Live packets that Redis took, and that were left out.", lambda redis: _live(redis)),
]
_CAMERA: list[tuple[str, str, str, Callable[[dict[str, Any], float], Values]]] = [
    ("cupola_camera_connected", "gauge", "Whether the camera is open.", _fact("connected")),
    ("cupola_images_captured_total", "counter", "Images announced since the server's start.", _fact("images_captured")),
    ("cupola_capture_errors_total", "counter", "Exposures that gave no image, since the server's start.", _facts("capture_errors", "error_type")),
    ("cupola_photos_captured_today", "gauge", "Images of the night or day that is open, else of the next one.", _fact("photos_captured_today")),
    ("cupola_photos_expected_today", "gauge", "Images that the schedule expects of the same.", _fact("photos_expected_today")),
    ("cupola_duty_cycle_ratio", "gauge", "Share of the time in which the shutter is open, of the last images of a series.", _fact("duty_cycle")),
    ("cupola_camera_temperature_celsius", "gauge", "Temperature of the camera's sensor.", _fact("temperature_celsius")),
    ("cupola_frame_age_seconds", "gauge", "Age of the newest live picture, from the opening of its shutter.", _grown("frame_age_seconds")),
    ("cupola_capture_age_seconds", "gauge", "Age of the newest image, from the opening of its shutter.", _grown("capture_age_seconds")),
    ("cupola_frames_total", "counter", "Frames the camera's process took and encoded, and the server published.", _facts("frames", "stage")),
    ("cupola_frames_dropped_total", "counter", "Frames left out as somebody was too slow for them.", _facts("frames_dropped", "reason")),
    ("cupola_viewers", "gauge", "Open live views.", _fact("viewers")),
    ("cupola_camera_restarts_total", "counter", "Starts of the camera's process after a failure.", _facts("restarts", "cause")),
    ("cupola_clips_total", "counter", "Clips since the server's start.", _facts("clips", "state")),
]
