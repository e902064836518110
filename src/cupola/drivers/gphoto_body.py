"""One camera body through libgphoto2: its settings by name, its shutter, its files. Every call blocks, and belongs to one thread.

What a shutter speed means is the business of `gphoto_words`, what an error means of `gphoto_errors`, when to call what of
`gphoto_shot` and `gphoto`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from cupola.core.errors import CameraLost, CameraNotFound, LibraryMissing
from cupola.drivers.gphoto_errors import REFUSED, explain

INSTALL = "Install it with: pip install gphoto2 (on 32-bit ARM, where there is no wheel: apt install python3-gphoto2, or libgphoto2-dev to build it)."


def library() -> Any:
    """python-gphoto2. Raises LibraryMissing."""
    try:
        return importlib.import_module("gphoto2")
    except ImportError as error:
        raise LibraryMissing(f"The driver gphoto needs python-gphoto2, which cannot be loaded ({error}). {INSTALL}") from error


def attached(gp: Any) -> list[tuple[str, str]]:
    """(model, port) of every camera libgphoto2 sees; nothing is opened."""
    found = gp.Camera.autodetect()
    return [(found.get_name(index), found.get_value(index)) for index in range(found.count())]


def _heard(context: object, text: object, said: list[str]) -> None:
    """What libgphoto2 says of an error. No method: its context holds it, and would hold the body."""
    said.append(text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text))


@dataclass(frozen=True, slots=True)
class CardFile:
    """A file on the camera: its folder and name there."""

    folder: str
    name: str


class Body:
    """Not opened by the constructor. `who` names the camera in every error."""

    def __init__(self, gp: Any, model: str, port: str) -> None:
        self.model, self.port = model, port
        self.who = f"{model} at {port}"
        self._gp = gp
        self._camera: Any = None
        self._said: list[str] = []
        self._context = gp.Context()
        self._error_func = self._context.set_error_func(_heard, self._said)  # in force for as long as it is kept

    # ── open and close ─────────────────────────────────────────────────────

    def open(self) -> None:
        """Claim the camera. Raises CameraNotFound, CameraBusy, CameraLost and others that say what to do."""
        self._camera = self._gp.Camera()
        try:
            self._choose()
            self._call("open", "init", self._context)
        except BaseException:
            self._camera = None
            raise

    def _choose(self) -> None:
        gp = self._gp
        try:
            ports = gp.PortInfoList()
            ports.load()
            self._open.set_port_info(ports[ports.lookup_path(self.port)])
            abilities = gp.CameraAbilitiesList()
            abilities.load()
            self._open.set_abilities(abilities[abilities.lookup_model(self.model)])
        except gp.GPhoto2Error as error:
            raise CameraNotFound(f"{self.who} is not there. Check its cable and port; `cupola cameras` lists what is attached.") from error

    def close(self) -> None:
        """Let the camera go, also one that is gone already."""
        camera, self._camera = self._camera, None
        if camera is not None:
            try:
                camera.exit()
            except self._gp.GPhoto2Error:
                return  # it is gone; libgphoto2 has freed what it held

    @property
    def _open(self) -> Any:
        if self._camera is None:
            raise CameraLost(f"{self.who} is not open. Connect the camera first.")
        return self._camera

    def _call(self, doing: str, name: str, *args: object) -> Any:
        """By name: a method of the camera's in this frame, and so in an error's traceback, would hold the camera beyond its end."""
        self._said.clear()
        try:
            return getattr(self._open, name)(*args)
        except self._gp.GPhoto2Error as error:
            raise explain(self.who, doing, int(error.code), list(self._said), self.port) from error

    # ── settings ───────────────────────────────────────────────────────────

    def _widget(self, name: str) -> Any:
        """The setting of this name, or None when the camera has none."""
        try:
            return self._open.get_single_config(name)
        except self._gp.GPhoto2Error as error:
            if int(error.code) in REFUSED:
                return None
            raise explain(self.who, f"tell its {name}", int(error.code), [], self.port) from error

    def value(self, name: str) -> Any:
        """What a setting is at: a text, or a number of toggles and dates; None when the camera has none of that name."""
        widget = self._widget(name)
        return None if widget is None else widget.get_value()

    def choices(self, name: str) -> list[str]:
        """The words a setting can be set to now; none where it cannot be set (a dial on the camera decides)."""
        widget = self._widget(name)
        if widget is None or widget.get_readonly() or widget.get_type() not in (self._gp.GP_WIDGET_RADIO, self._gp.GP_WIDGET_MENU):
            return []
        return [str(choice) for choice in widget.get_choices()]

    def has(self, name: str) -> bool:
        return self._widget(name) is not None

    def set(self, name: str, value: object) -> bool:
        """Ask for a value; False when the camera refused. What it has now is told by `value`."""
        widget = self._widget(name)
        if widget is None:
            return False
        widget.set_value(value)
        self._said.clear()
        try:
            self._open.set_single_config(name, widget, self._context)
        except self._gp.GPhoto2Error as error:
            if int(error.code) in REFUSED:
                return False
            raise explain(self.who, f"set its {name} to {value}", int(error.code), list(self._said), self.port) from error
        return True

    def can_preview(self) -> bool:
        """Whether it has a live view. Its abilities alone promise too much: Nikon and Canon switch it by a setting of their own."""
        gp = self._gp
        abilities = self._open.get_abilities()
        if not abilities.operations & gp.GP_OPERATION_CAPTURE_PREVIEW:
            return False
        return abilities.usb_vendor not in (0x04A9, 0x04B0) or self.has("viewfinder")

    # ── pictures ───────────────────────────────────────────────────────────

    def trigger(self) -> None:
        """Open the shutter for the time that is set. Returns at once with some cameras, after the exposure with others."""
        self._call("take the picture", "trigger_capture", self._context)

    def event(self, wait_ms: int) -> CardFile | str | None:
        """The next thing the camera tells: a new file, "complete", "other"; None when it told nothing for so long."""
        gp = self._gp
        kind, data = self._call("tell what it did", "wait_for_event", wait_ms, self._context)
        if kind == gp.GP_EVENT_FILE_ADDED:
            return CardFile(data.folder, data.name)
        if kind == gp.GP_EVENT_CAPTURE_COMPLETE:
            return "complete"
        return None if kind == gp.GP_EVENT_TIMEOUT else "other"

    def fetch(self, file: CardFile) -> bytes:
        """A file's bytes."""
        handle = self._call(f"hand over {file.name}", "file_get", file.folder, file.name, self._gp.GP_FILE_TYPE_NORMAL)
        return bytes(handle.get_data_and_size())  # copied while the handle, which owns the memory, is alive

    def delete(self, file: CardFile) -> None:
        self._call(f"delete {file.name}", "file_delete", file.folder, file.name, self._context)

    def preview(self) -> bytes:
        """One JPEG of the live view."""
        handle = self._call("show its live view", "capture_preview")
        return bytes(handle.get_data_and_size())
