"""Memory for pictures that is used again: a frame handed on keeps its buffer until the last array made of it is gone.

So nobody has to give anything back, and a consumer that holds frames for long only makes the set grow, never sees
its pixels change.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from cupola.core.frame import Pixels


class Buffers:
    """Equally large buffers for one driver thread. `spare` of them are kept while nobody uses them."""

    def __init__(self, size: int, spare: int = 4) -> None:
        self.size, self._spare = size, spare
        self._lent: list[tuple[bytearray, weakref.ref[Any]]] = []
        self._free: list[bytearray] = []

    def take(self) -> bytearray:
        """A buffer that nobody reads. It is the caller's until `picture` makes pixels of it."""
        still_lent: list[tuple[bytearray, weakref.ref[Any]]] = []
        for buffer, reader in self._lent:
            if reader() is not None:
                still_lent.append((buffer, reader))
            elif len(self._free) < self._spare:
                self._free.append(buffer)
        self._lent = still_lent
        return self._free.pop() if self._free else bytearray(self.size)

    def give_back(self, buffer: bytearray) -> None:
        """Of a picture that was not taken."""
        self._free.append(buffer)

    def picture(self, buffer: bytearray, height: int, width: int, deep: bool) -> Pixels:
        """The buffer as read-only pixels, (H, W) uint16 (little-endian) or uint8, without a copy."""
        flat: Any = np.frombuffer(buffer, np.dtype("<u2") if deep else np.uint8, width * height)
        flat.flags.writeable = False
        self._lent.append((buffer, weakref.ref(flat)))  # every view of the picture has this array as its base, not each other
        return flat.reshape(height, width)
