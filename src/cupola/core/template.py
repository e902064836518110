"""The words that may stand in braces in the text on a picture: `{time:%H:%M}  {exposure}  gain {gain}`.

Owns which names there are and whether a line can be understood, so that the configuration refuses one that cannot. What the
names stand for on a picture is `darkroom.facts`'s. Standard library only.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass

NAMES: Mapping[str, str] = {
    "time": "when the shutter opened, in the station's time; {time:%H:%M} as strftime writes it",
    "utc": "the same in UTC",
    "exposure": "how long the shutter was open",
    "gain": "gain, or ISO, in the camera's own scale",
    "f_number": "aperture",
    "temperature": "of the sensor",
    "sun": "altitude of the sun",
    "moon": "altitude of the moon, and how much of it is lit",
    "compass": "the direction at the top of the picture; needs north_deg",
    "station": "the station's name",
    "camera": "the camera's name",
}
_WITH_FORMAT = frozenset({"time", "utc"})


class TemplateError(ValueError):
    """A line that cannot be understood; `word` is what was not, if it was a name."""

    def __init__(self, message: str, word: str | None = None) -> None:
        super().__init__(message)
        self.word = word


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text, and then what `name` stands for, if there is one, written as `form` says."""

    text: str
    name: str | None = None
    form: str = ""


def parse(line: str) -> tuple[Piece, ...]:
    """The pieces of a line. `{{` and `}}` are braces. Raises TemplateError."""
    pieces: list[Piece] = []
    try:
        found = list(string.Formatter().parse(line))
    except ValueError:
        raise TemplateError("has a brace without its partner; {{ and }} stand for braces") from None
    for text, name, form, conversion in found:
        if name is not None:
            if name not in NAMES:
                raise TemplateError(f"{{{name}}} is no name", name)
            if form and name not in _WITH_FORMAT:
                raise TemplateError(f"{{{name}}} takes no format")
            if conversion or "{" in (form or ""):
                raise TemplateError(f"{{{name}}} cannot be written like that")
        pieces.append(Piece(text, name, form or ""))
    return tuple(pieces)


def fill(pieces: tuple[Piece, ...], values: Mapping[str, str]) -> str:
    """The line, with ready `values` for all names but those written by a format, whose value is `name:format`."""
    return "".join(piece.text + (values[f"{piece.name}:{piece.form}" if piece.form else piece.name] if piece.name else "") for piece in pieces)
