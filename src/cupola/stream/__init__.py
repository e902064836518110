"""Frames, stills, clips and events over Redis streams: a station's side, and that of whoever receives.

`frames` is for programs of others; `viewing` has it, and is loaded when somebody asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cupola.stream.viewing import Frame, frames

__all__ = ["Frame", "frames"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cupola.stream import viewing

    return getattr(viewing, name)
