"""libgphoto2's virtual Nikon, and what it lacks: ISO, live view, bulb and faults, as a fake of exactly those calls."""

from __future__ import annotations

import gc
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import gphoto2 as _gphoto2
import numpy as np
import pytest
import simplejpeg

gphoto2: Any = _gphoto2  # its names are made by SWIG, without types
OPTIONS: dict[str, Any] = {"serial": None, "port": None, "keep_on_card": False, "bulb": "auto", "sync_clock": True}


def night_jpeg(width: int = 640, height: int = 480, seed: int = 1) -> bytes:
    noise = np.random.default_rng(seed).normal(24, 6, (height, width, 3)).clip(0, 255).astype(np.uint8)
    return simplejpeg.encode_jpeg(noise, quality=85)


def is_loaded() -> bool:
    """Whether libgphoto2 holds its virtual camera: it is unloaded when the last camera object is gone."""
    return "/vusb.so" in Path("/proc/self/maps").read_text()


def virtual_nikon(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """A card with one JPEG for the virtual camera to take again and again.

    VCAMERADIR has python-gphoto2 choose the virtual port when it is imported; where it was imported before, IOLIBS does.
    Its card and its count of pictures (the 27th gives no file, later ones find the card full) are static: loading it makes it new.
    """
    gc.collect()  # a test that expects an error may hold it, with the frames it came through
    assert not is_loaded(), "an earlier test left a camera behind, and with it the virtual camera's count of pictures"
    card = folder / "card"
    card.mkdir()
    (card / "a.jpg").write_bytes(night_jpeg())
    monkeypatch.setenv("VCAMERADIR", str(card))
    monkeypatch.setenv("IOLIBS", str(Path(gphoto2.__file__ or "").parent / "libgphoto2" / "vusb"))
    return card


@dataclass
class Widget:
    """A setting the virtual camera lacks. `on_set` is told each new value."""

    value: Any
    choices: tuple[str, ...] = ()
    on_set: Callable[[Any], None] = lambda value: None

    def get_value(self) -> Any:
        return self.value

    def set_value(self, value: Any) -> None:
        self.wanted = value

    def get_choices(self) -> tuple[str, ...]:
        return self.choices

    def get_readonly(self) -> int:
        return 0

    def get_type(self) -> int:
        return gphoto2.GP_WIDGET_RADIO if self.choices else gphoto2.GP_WIDGET_TOGGLE


class Event(NamedTuple):
    folder: str
    name: str


class Context:
    """Takes the place of libgphoto2's, so that the fake can say what a camera says when it fails."""

    def set_error_func(self, function: Callable[..., None], data: object) -> object:
        self.say = lambda text: function(self, text.encode(), data)
        return self


@dataclass
class Extras:
    """The virtual Nikon behind a fake of what it lacks. Everything else goes to libgphoto2.

    `refusals`: call → the code and the sentence it fails with. `raw`: bytes of a NEF that comes beside each JPEG; with
    `raw_only` in its place. `late_files_s`: an exposure's files come so much later.
    """

    widgets: dict[str, Widget] = field(default_factory=dict)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)
    preview: bytes | None = None
    raw: bytes | None = None
    raw_only: bool = False
    late_files_s: float = 0.0
    calls: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "gphoto2", self.module())

    def module(self) -> Any:
        """What stands in for the module gphoto2."""
        extras = self

        class Module:
            Camera = type("Camera", (_Camera,), {"extras": extras, "autodetect": staticmethod(gphoto2.Camera.autodetect)})
            Context = Context

            def __getattr__(self, name: str) -> Any:
                return getattr(gphoto2, name)

        return Module()


class _Camera:
    extras: Extras

    def __init__(self) -> None:
        self._real: Any = gphoto2.Camera()
        self._files: deque[Event] = deque()
        self._not_before = 0.0

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            self._note(name, args)
            return getattr(self._real, name)(*[arg for arg in args if not isinstance(arg, Context)])

        return call

    def _note(self, name: str, args: tuple[Any, ...]) -> None:
        self.extras.calls.append(name)
        if name in self.extras.refusals:
            code, sentence = self.extras.refusals[name]
            for arg in args:
                if isinstance(arg, Context) and sentence:
                    arg.say(sentence)
            raise gphoto2.GPhoto2Error(code)

    def get_single_config(self, name: str) -> Any:
        return self.extras.widgets.get(name) or self._real.get_single_config(name)

    def set_single_config(self, name: str, widget: Any, context: Context) -> None:
        self._note(f"set {name}", (context,))
        if not isinstance(widget, Widget):
            return self._real.set_single_config(name, widget)
        widget.value = widget.wanted
        widget.on_set(widget.value)
        if name == "bulb" and widget.value == 0:  # the shutter closes: the files of a picture follow
            self._real.trigger_capture()
        return None

    def capture_preview(self) -> Any:
        if self.extras.preview is None:
            return self._real.capture_preview()
        self.extras.calls.append("capture_preview")
        file = gphoto2.CameraFile()
        file.set_data_and_size(self.extras.preview)
        return file

    def trigger_capture(self, context: Context) -> None:
        self._note("trigger_capture", (context,))
        self._not_before = time.monotonic() + self.extras.late_files_s
        self._real.trigger_capture()

    def wait_for_event(self, milliseconds: int, context: Context) -> tuple[int, Any]:
        if time.monotonic() < self._not_before:
            time.sleep(milliseconds / 1000)
            return gphoto2.GP_EVENT_TIMEOUT, None
        if self._files:
            return gphoto2.GP_EVENT_FILE_ADDED, self._files.popleft()
        kind, data = self._real.wait_for_event(milliseconds)
        if kind == gphoto2.GP_EVENT_FILE_ADDED and self.extras.raw is not None:
            raw = Event(data.folder, data.name.replace(".JPG", ".NEF"))
            if self.extras.raw_only:
                return kind, raw
            self._files.append(raw)
        return kind, data

    def file_get(self, folder: str, name: str, kind: int) -> Any:
        self._note("file_get", ())
        if not name.endswith(".NEF"):
            return self._real.file_get(folder, name, kind)
        file = gphoto2.CameraFile()
        file.set_data_and_size(self.extras.raw)
        return file

    def file_delete(self, folder: str, name: str, context: Context) -> None:
        self._note("file_delete", (context,))
        self.extras.deleted.append(name)
        if not name.endswith(".NEF"):
            self._real.file_delete(folder, name)


SPEEDS = ("Bulb", "30.0000s", "8.0000s", "1.0000s", "0.1000s", "0.0040s")


def with_bulb() -> dict[str, Widget]:
    """A Nikon whose dial is at M: speeds up to 30 s, then bulb."""
    return {"shutterspeed": Widget("1.0000s", SPEEDS), "bulb": Widget(0)}
