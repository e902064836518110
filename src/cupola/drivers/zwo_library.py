"""ZWO's camera library, libASICamera2: finding it, loading it through `zwoasi`, what is attached.

The library is the owner's to download; this module says where from, and what is wrong with one that does not
load. Calls go through the binding, with its faults kept out: it tries to load a library of its own choice when it is imported,
knows no serial numbers, takes a camera's id for its index, and raises the same exception objects again and again, which
gather tracebacks (and with them frames and buffers) for ever. One opened camera is the business of `zwo_device`.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib
import os
import platform
import struct
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cupola.core.errors import LibraryMissing

VENDOR = "03c3"  # of ZWO's USB devices
_NAME = {"darwin": "libASICamera2.dylib", "win32": "ASICamera2.dll"}.get(sys.platform, "libASICamera2.so")
_GET_IT = (
    "Download the ASI Camera SDK from the page for developers of ZWO's web site (zwoastro.com, Software, Developers) and put "
    f"{_NAME} for this machine ({{folder}}) into /usr/local/lib, or name it in the configuration (zwo: library:)."
)
_ELF_MACHINES = {3: "32-bit x86", 40: "32-bit ARM", 62: "64-bit x86", 183: "64-bit ARM"}
_SDK_FOLDERS = {"x86_64": "x64", "AMD64": "x64", "i686": "x86", "aarch64": "armv8", "armv7l": "armv7", "armv6l": "armv6", "arm64": "mac_arm64"}
CLOSED, REMOVED, TIMEOUT = 4, 5, 11


class AsiError(Exception):
    """A call of the library failed; `code` is its ASI_ERROR_CODE."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(f"{words} (ASI error {code})")
        self.code = code


@dataclass(frozen=True, slots=True)
class Attached:
    """A camera as the library lists it. `id` names it in calls until it is unplugged; `facts` are those of ASI_CAMERA_INFO."""

    id: int
    model: str
    facts: dict[str, Any]


class Library:
    """The loaded library."""

    def __init__(self, binding: Any, path: str) -> None:
        self.binding, self.sdk, self.path = binding, binding.zwolib, path

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """A call of the binding. Raises AsiError."""
        try:
            return function(*arguments)
        except self.binding.ZWO_IOError as error:
            code, words = int(error.error_code or 0), str(error)
            error.__traceback__ = error.__context__ = None
        except IndexError:
            code, words = -1, "An error the binding does not know"
        raise AsiError(code, words)

    def check(self, code: int) -> None:
        """The answer of a function that is called without the binding. Raises AsiError."""
        if code:
            errors = self.binding.zwo_errors
            raise AsiError(code, str(errors[code]) if code < len(errors) else "Unknown error")

    def attached(self) -> list[Attached]:
        """What is plugged in, in the library's order, which changes. A camera that goes meanwhile is left out."""
        found: list[Attached] = []
        for index in range(self.call(self.binding.get_num_cameras)):
            try:
                facts: dict[str, Any] = self.call(self.binding._get_camera_property, index)
            except AsiError:
                continue
            found.append(Attached(facts["CameraID"], facts["Name"], facts))
        return found

    def open(self, camera: Attached) -> None:
        """Claim a camera. Raises AsiError: also when another program has it, or the rights are missing."""
        self.check(self.sdk.ASIOpenCamera(camera.id))

    def close(self, camera: Attached) -> None:
        """Let it go, whatever state it is in."""
        self.sdk.ASICloseCamera(camera.id)

    def serial(self, camera: Attached) -> str | None:
        """The serial number of an opened camera, 16 hexadecimal digits; None for old cameras, which have none."""
        read = getattr(self.sdk, "ASIGetSerialNumber", None)
        if read is None:  # a library from before 2019
            return None
        number = (ctypes.c_ubyte * 8)()
        read.argtypes = [ctypes.c_int, ctypes.c_void_p]
        return bytes(number).hex() if read(camera.id, number) == 0 and any(number) else None


def load(given: str | None) -> Library:
    """The library at `given`, or the first one in the usual places that fits this machine. Raises LibraryMissing."""
    if given:
        path = given
        _check_fits(path)
    else:
        path = _find()
    try:
        ctypes.CDLL(path)
    except OSError as error:
        raise LibraryMissing(f"ZWO's library {path} does not load: {error}. It may need libusb-1.0 and libudev; {_get_it()}") from None
    try:
        return Library(_binding(path), path)
    except ModuleNotFoundError:
        raise LibraryMissing("The Python package zwoasi is not installed. Install it where Cupola is: pip install zwoasi") from None
    except AttributeError as error:
        raise LibraryMissing(f"{path} is not ZWO's camera library, or too old a one: {error}. {_get_it()}") from None


def _binding(path: str) -> Any:
    """The module `zwoasi` with this library in it."""
    binding: Any = sys.modules.get("zwoasi")
    if binding is None:
        # On import it looks for a library, and complains through the root logger when there is none: ours is the one it finds.
        find, ctypes.util.find_library = ctypes.util.find_library, lambda name: path
        try:
            return importlib.import_module("zwoasi")
        finally:
            ctypes.util.find_library = find
    if binding.zwolib is None or binding.zwolib._name != path:
        binding.zwolib = None
        binding.init(path)
    return binding


def _find() -> str:
    foreign: list[str] = []
    for path in _candidates():
        built_for = _built_for(path)
        if built_for is None or built_for == _this_machine():
            return path
        foreign.append(f"{path} ({built_for})")
    if found := ctypes.util.find_library("ASICamera2"):
        return found
    if foreign:
        raise LibraryMissing(f"ZWO's library was found only for other machines than this one, {_this_machine()}: {', '.join(foreign)}. {_get_it()}")
    raise LibraryMissing(f"ZWO's library {_NAME} was not found. {_get_it()}")


def _candidates() -> Iterator[str]:
    """Where ZWO's own package, INDI's libasi, PHD2 and people put it; the one that was named to the binding first."""
    if named := os.environ.get("ZWO_ASI_LIB"):
        yield named
    triplet = sysconfig.get_config_var("MULTIARCH") or ""
    roots = [
        Path("/usr/local/lib"),
        Path("/usr/lib"),
        Path("/lib"),
        Path("/usr/lib64"),
        Path.home() / ".local/lib",
        Path.home() / "lib",
        Path("/opt/homebrew/lib"),
    ]
    inside = dict.fromkeys((".", triplet, _sdk_folder(), "phd2", "zwo", "asi"))
    for root in roots:
        for folder in inside:
            place = root / folder
            if not place.is_dir():
                continue
            for path in (place / _NAME, *sorted(place.glob(_NAME + ".*"), reverse=True)):
                if path.is_file():
                    yield str(path)


def _check_fits(path: str) -> None:
    if not os.path.isfile(path):
        raise LibraryMissing(f"There is no {path}, which the configuration names as ZWO's library (zwo: library:). Correct the path. {_get_it()}")
    built_for = _built_for(path)
    if built_for is not None and built_for != _this_machine():
        raise LibraryMissing(f"ZWO's library {path} is for {built_for}, but this is {_this_machine()}. {_get_it()}")


def _built_for(path: str) -> str | None:
    """The machine an ELF file is for (System V ABI, ELF header: e_machine at byte 18); None when it is no such file."""
    try:
        with open(path, "rb") as file:
            head = file.read(20)
    except OSError:
        return None
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return None
    (machine,) = struct.unpack("<H" if head[5] == 1 else ">H", head[18:20])
    return _ELF_MACHINES.get(machine, f"another machine (ELF {machine})")


def _this_machine() -> str:
    """What this Python itself was built for: a 32-bit system may run on a 64-bit processor."""
    return _built_for(sys.executable) or platform.machine()


def _sdk_folder() -> str:
    """The folder of ZWO's package that is for this machine."""
    machine = platform.machine()
    if machine == "aarch64" and struct.calcsize("P") == 4:
        machine = "armv7l"
    return _SDK_FOLDERS.get(machine, machine)


def _get_it() -> str:
    return _GET_IT.format(folder=f"its folder lib/{_sdk_folder()}")
