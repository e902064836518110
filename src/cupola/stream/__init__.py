"""Frames, stills, clips and events over Redis streams: a station's side, and that of whoever receives.

`frames` is for programs of others; `viewing` has it.
"""

from cupola.stream.viewing import Frame, frames

__all__ = ["Frame", "frames"]
