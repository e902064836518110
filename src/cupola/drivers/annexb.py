"""H.264 and H.265 byte streams: makes every keyframe begin with the parameter sets a decoder needs.

NAL unit types: ITU-T H.264 table 7-1 and H.265 table 7-1; the byte stream format is annex B of both.
"""

from collections.abc import Iterator
from typing import Literal

_START = b"\0\0\1"
_SETS = {"h264": (7, 8), "h265": (32, 33, 34)}  # SPS, PPS; VPS, SPS, PPS
_DELIMITER = {"h264": 9, "h265": 35}  # access unit delimiter: the one thing that may stand before the sets
_FIRST_SLICE_LIMIT = {"h264": 6, "h265": 32}  # types below are slices of the picture


def units(data: bytes) -> Iterator[tuple[int, int]]:
    """(start, end) of each NAL unit with its start code."""
    at = data.find(_START)
    while at >= 0:
        behind = data.find(_START, at + 3)
        begin = at - 1 if at and data[at - 1] == 0 else at
        end = len(data) if behind < 0 else behind - 1 if data[behind - 1] == 0 else behind
        yield begin, end
        at = behind


class ParameterSets:
    """Remembers the newest parameter sets of one stream, as cameras may send them once only."""

    def __init__(self, codec: Literal["h264", "h265"], extradata: bytes | None) -> None:
        self._codec: Literal["h264", "h265"] = codec
        self._known: dict[int, bytes] = {}
        if extradata and extradata.startswith((b"\0\0\1", b"\0\0\0\1")):
            self._learn(extradata)

    def complete(self, data: bytes) -> bytes:
        """A keyframe's data, beginning with its parameter sets (behind an access unit delimiter, if it has one)."""
        found = self._learn(data)
        missing = b"".join(self._known[kind] for kind in _SETS[self._codec] if kind not in found and kind in self._known)
        if not missing:
            return data
        first = next(units(data), None)
        cut = first[1] if first and self._kind(data, first) == _DELIMITER[self._codec] else 0
        return data[:cut] + missing + data[cut:]

    def _kind(self, data: bytes, unit: tuple[int, int]) -> int:
        header = data[data.index(1, unit[0]) + 1]
        return header & 0x1F if self._codec == "h264" else header >> 1 & 0x3F

    def _learn(self, data: bytes) -> set[int]:
        found: set[int] = set()
        for unit in units(data):
            if unit[1] - unit[0] <= 4:
                continue
            kind = self._kind(data, unit)
            if kind in _SETS[self._codec]:
                self._known[kind] = data[unit[0] : unit[1]]
                found.add(kind)
            elif kind < _FIRST_SLICE_LIMIT[self._codec] and kind > 0:
                break
        return found
