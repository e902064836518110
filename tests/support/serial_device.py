"""A serial device at the other end of a pseudo terminal, with a lasting name as udev gives it, which can be unplugged."""

from __future__ import annotations

import os
import tty
from pathlib import Path


class SerialDevice:
    """As a context it is plugged in."""

    def __init__(self, name: Path) -> None:
        self.name = name
        self._master: int | None = None

    def plug_in(self) -> None:
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.name.symlink_to(os.ttyname(slave))
        os.close(slave)

    def unplug(self) -> None:
        if self._master is not None:
            self.name.unlink()
            os.close(self._master)
            self._master = None

    def says(self, text: str | bytes) -> None:
        assert self._master is not None, "it is not plugged in"
        os.write(self._master, text.encode() if isinstance(text, str) else text)

    def __enter__(self) -> SerialDevice:
        self.plug_in()
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()
