"""One original becomes one picture: the order of all steps.

Read → calibrate → tones and debayering → turn and crop → overlay → encode; beside that, in a thread, the calibrated, still linear samples are
measured. Each step is the business of its module; writing the result durably and answering the server is `process`'s. `cupola develop` does the
same by itself, without a server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cupola.core.frame import PixelFormat, PixelKind, Station
from cupola.darkroom.calibrate import Calibrator
from cupola.darkroom.develop import develop
from cupola.darkroom.encode import BLOCK, encode_jpeg, encode_png16, with_beneath, with_note
from cupola.darkroom.facts import Shot, lines_of
from cupola.darkroom.geometry import Picture, finished, narrowed
from cupola.darkroom.native import native_picture
from cupola.darkroom.overlay import beneath, draw, lay_out
from cupola.darkroom.recipe import Recipe
from cupola.storage.files import ORIGINAL_SUFFIX, telling
from cupola.storage.jpeg import jpeg_size
from cupola.storage.originals import read_original

if TYPE_CHECKING:
    from cupola.core.frame import Pixels

Format = Literal["jpeg", "png16"]
Measure = Callable[["Pixels", PixelFormat, float | None], dict[str, Any]]  # linear samples, their layout, exposure in seconds
RGB = PixelFormat(PixelKind.RGB)


@dataclass(frozen=True, slots=True)
class Order:
    """How a picture is to be made. `shot` tells of an original without a header of ours; `darks` is the folder of its camera's masters."""

    recipe: Recipe = field(default_factory=Recipe)
    station: Station = field(default_factory=Station)
    darks: Path | None = None
    shot: Shot | None = None
    correction: float | None = None  # stops; None: what the original says
    quality: int = 90
    format: Format = "jpeg"
    width_max: int | None = None

    @classmethod
    def from_head(cls, head: Mapping[str, Any]) -> Order:
        """Of a message to the darkroom's process. Raises TypeError, KeyError or ValueError for one that is none."""
        return cls(
            Recipe.from_dict(head.get("recipe") or {}),
            Station(**head.get("station") or {}),
            Path(head["darks"]) if head.get("darks") else None,
            Shot.from_dict(head["shot"]) if head.get("shot") else None,
            head.get("correction"),
            head["quality"],
            head.get("format", "jpeg"),
            head.get("width_max"),
        )


@dataclass(frozen=True, slots=True)
class Made:
    """The bytes of a file. `problems`: what of the recipe could not be done, in sentences for the owner."""

    data: bytes
    width: int
    height: int
    measured: dict[str, Any] = field(default_factory=dict[str, Any])
    note: dict[str, Any] = field(default_factory=dict[str, Any])
    problems: tuple[str, ...] = ()


class Developer:
    """Keeps what the next picture of a camera needs again."""

    def __init__(self) -> None:
        self._calibrator = Calibrator()

    def make(self, path: Path, order: Order, measure: Measure | None = None) -> Made:
        """One picture, measured by `measure` if given. Raises StorageFailed when the original cannot be read, ValueError when there is no picture in it, or none is left of it."""
        if path.name.endswith(ORIGINAL_SUFFIX):
            return self._of_sensor(path, order, measure)
        source = _encoded(path)
        measured = {} if measure is None else measure(_decoded(source), RGB, order.shot.exposure_s if order.shot else None)
        return replace(_of_picture(source, order), measured=measured)

    def _of_sensor(self, path: Path, order: Order, measure: Measure | None) -> Made:
        original = read_original(path, writeable=True)  # nobody else has them: they are mended in place
        facts = original.facts
        pixels = original.data
        del original
        calibrated = self._calibrator.calibrate(pixels, facts, order.recipe, order.darks)
        del pixels
        correction = (facts.correction if order.correction is None else order.correction) or 0.0
        depth = 16 if order.format == "png16" else 8
        note = {"recipe": order.recipe.digest(), **({"dark": calibrated.dark} if calibrated.dark else {})}
        note |= {"correction": correction} if correction else {}
        size = (calibrated.pixels.shape[1], calibrated.pixels.shape[0])
        with ThreadPoolExecutor(1, "measure") as beside:  # both let the interpreter lock go for most of their time
            measuring = None if measure is None else beside.submit(measure, calibrated.pixels, calibrated.layout, facts.applied.exposure_s)
            picture = develop(calibrated.pixels, calibrated.layout, order.recipe, correction=correction, depth=depth)
            made = _complete(picture, size, order, Shot.of(facts), note, calibrated.problems)
            return made if measuring is None else replace(made, measured=measuring.result())


def _of_picture(source: Picture | bytes, order: Order) -> Made:
    """What a camera has developed itself: its tones stay; an encoded one stays byte for byte when there is nothing to do."""
    if isinstance(source, bytes):
        if not order.recipe.shapes_picture and order.format == "jpeg" and order.width_max is None:
            return Made(source, *jpeg_size(source))
        source = _decoded(source)
    picture = develop(source, RGB, order.recipe, depth=16 if order.format == "png16" else 8)
    return _complete(picture, (source.shape[1], source.shape[0]), order, order.shot, {"recipe": order.recipe.digest()}, ())


def _decoded(source: Picture | bytes) -> Picture:
    import simplejpeg

    return simplejpeg.decode_jpeg(source, "RGB") if isinstance(source, bytes) else source


def _encoded(path: Path) -> Picture | bytes:
    if path.suffix.lower() not in (".jpg", ".jpeg"):
        return native_picture(path)
    with telling(path, "read"):
        return path.read_bytes()


def _complete(
    picture: Picture,
    size: tuple[int, int],
    order: Order,
    shot: Shot | None,
    note: dict[str, Any],
    problems: tuple[str, ...],
) -> Made:
    """Make it smaller, write on it, encode it. `size`: width and height of the whole picture, before it was turned and cropped."""
    recipe = order.recipe
    shaped_width = picture.shape[1]
    picture = narrowed(picture, order.width_max)
    scale = picture.shape[1] / shaped_width
    circle = None
    if recipe.circle is not None:
        x, y = finished(recipe.circle.x, recipe.circle.y, *size, recipe)
        circle = (scale * x, scale * y, scale * recipe.circle.radius)
    lines = lines_of(recipe.overlay, shot, order.station) if shot is not None else []
    laid = lay_out(picture.shape, recipe.overlay, lines, circle)
    height, width = picture.shape[:2]
    if order.format == "png16":
        return Made(encode_png16(draw(picture, laid)), width, height, note=note, problems=problems)
    pieces = [(column, row, encode_jpeg(piece, order.quality)) for column, row, piece in beneath(picture, laid, BLOCK)]
    data = with_note(with_beneath(encode_jpeg(draw(picture, laid), order.quality), pieces), note)
    return Made(data, width, height, note=note, problems=problems)
