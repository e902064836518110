"""The last seconds of one camera, as the packets that came: nothing is decoded, nothing is copied.

Lives in the server, so it outlives a camera's crash. What becomes of the packets is `clips.recorder`'s.
"""

from __future__ import annotations

from collections import deque

from cupola.core.frame import Codec, Packet


class Ring:
    """At least `seconds` of packets, and at most `bytes_max`, from a keyframe on.

    Packets are kept in groups that begin with a keyframe (every JPEG is one). The oldest group goes when the next one alone
    reaches back far enough, or when there is no room. Seconds are of the shutter's monotonic clock.
    """

    def __init__(self, seconds: float, bytes_max: int) -> None:
        self._keep_ns, self._bytes_max = round(seconds * 1e9), bytes_max
        self._groups: deque[list[Packet]] = deque()
        self.bytes = 0
        self.packets = 0
        self.cut_short = False  # seconds were given up for want of room

    def add(self, packet: Packet) -> None:
        """Take the newest packet. One that nothing before it belongs to, and that is no keyframe, is of no use."""
        newest = self._newest
        if newest is not None and (newest.codec, newest.width, newest.height) != (packet.codec, packet.width, packet.height):
            self.clear()  # another stream: no file holds both
        if packet.keyframe:
            self._groups.append([])
        elif not self._groups:
            return
        self._groups[-1].append(packet)
        self.bytes += len(packet.data)
        self.packets += 1
        self._trim(packet.monotonic_ns)

    def _trim(self, now_ns: int) -> None:
        while len(self._groups) > 1:
            old_enough = self._groups[1][0].monotonic_ns <= now_ns - self._keep_ns
            if not old_enough and self.bytes <= self._bytes_max:
                return
            if not old_enough:
                self.cut_short = True
            gone = self._groups.popleft()
            self.packets -= len(gone)
            self.bytes -= sum(len(packet.data) for packet in gone)
        if self.bytes > self._bytes_max:
            self.clear()  # a stream without keyframes: nobody could show a part of it
            self.cut_short = True

    def since(self, moment_ns: int) -> list[Packet]:
        """From the last keyframe at or before a moment of the monotonic clock; all there is, when that is less."""
        start = 0
        for number, group in enumerate(self._groups):
            if group[0].monotonic_ns <= moment_ns:
                start = number
        return [packet for number, group in enumerate(self._groups) if number >= start for packet in group]

    def clear(self) -> None:
        self._groups.clear()
        self.bytes = self.packets = 0

    @property
    def seconds(self) -> float:
        """What it reaches back now."""
        if not self._groups:
            return 0.0
        return (self._groups[-1][-1].monotonic_ns - self._groups[0][0].monotonic_ns) / 1e9

    @property
    def fps(self) -> float:
        """The rate at which its packets came."""
        return round((self.packets - 1) / self.seconds, 2) if self.seconds else 0.0

    @property
    def _newest(self) -> Packet | None:
        return self._groups[-1][-1] if self._groups else None

    @property
    def codec(self) -> Codec | None:
        return None if self._newest is None else self._newest.codec

    @property
    def width(self) -> int | None:
        return None if self._newest is None else self._newest.width

    @property
    def height(self) -> int | None:
        return None if self._newest is None else self._newest.height
