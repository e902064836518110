"""The thread that reads lines from one serial port, and finds it again after it was unplugged.

What the lines mean is the business of `watch.readings`.
"""

from __future__ import annotations

import glob
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from cupola.watch.sysfs import Nothing

if TYPE_CHECKING:
    from serial import Serial

LINE_MAX = 200  # bytes; what is longer is no line
LOOK_S = 2.0  # between tries to open it
READ_S = 0.5
USUAL = ("/dev/serial/by-id/*", "/dev/ttyUSB*", "/dev/ttyACM*")


def port_for(pattern: str | None) -> str:
    """The one port that a name means, in which * stands for anything; None: the only one there is. Raises Nothing."""
    if pattern is not None and not glob.has_magic(pattern):
        return pattern
    found = sorted(glob.glob(pattern)) if pattern is not None else next((ports for name in USUAL if (ports := sorted(glob.glob(name)))), [])
    if len(found) == 1:
        return found[0]
    named = f"{pattern} stands for" if pattern is not None else "there are"
    raise Nothing(
        f"{named} {len(found)} serial ports ({', '.join(found)}): name one of them" if found else f"there is no serial port {pattern or ''}".strip()
    )


class SerialPort(threading.Thread):
    """`take` gets each line, and "" for what is too long to be one; `trouble` what is wrong, in words, and None when it is read again. Both are called in this thread."""

    def __init__(self, name: str, pattern: str | None, baud: int, take: Callable[[str], None], trouble: Callable[[str | None], None]) -> None:
        super().__init__(name=f"sensor {name}", daemon=True)
        self._pattern, self._baud, self._take, self._trouble = pattern, baud, take, trouble
        self._over = threading.Event()

    def end(self) -> None:
        """Ask it to end; it does within a second."""
        self._over.set()

    def run(self) -> None:
        import serial

        while not self._over.is_set():
            try:
                port = port_for(self._pattern)
                with serial.Serial(port, self._baud, timeout=READ_S, exclusive=True) as link:
                    self._trouble(None)
                    self._read(link)
            except Nothing as problem:
                self._trouble(str(problem))
            except (OSError, ValueError) as error:  # SerialException is an OSError; unplugged, held by somebody else, no rights
                self._trouble(f"the serial port does not answer ({error})")
            self._over.wait(LOOK_S)

    def _read(self, link: Serial) -> None:
        """Until the port is gone, which raises OSError, or `end`. What was there before the first end of a line is half a line."""
        rest, whole = b"", False
        while not self._over.is_set():
            *lines, rest = (rest + link.read(max(1, min(link.in_waiting, 4096)))).split(b"\n")
            for line in lines:
                if whole and line.strip():
                    self._take(line.decode("ascii", "replace").strip())
                whole = True
            if len(rest) > LINE_MAX:
                self._take("")
                rest, whole = b"", False
