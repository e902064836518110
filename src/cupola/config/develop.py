"""How a camera's pictures are developed: `cameras[].develop`. What is done with it is `darkroom.develop`'s."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from cupola.config.base import Block, ConfigPath, Float, Int, group, key
from cupola.config.problems import suggestion
from cupola.core.template import NAMES, TemplateError, parse


def _gains(value: list[float]) -> list[float]:
    if len(value) != 3 or not all(0.05 <= gain <= 20 for gain in value):
        raise PydanticCustomError("gains", "must be three numbers from 0.05 to 20", {"hint": "red, green, blue, such as [1.8, 1, 1.5]"})
    return value


def _line(text: str) -> str:
    try:
        parse(text)
    except TemplateError as error:
        hint = suggestion(error.word, list(NAMES)) if error.word is not None else f"Names: {', '.join(NAMES)}"
        raise PydanticCustomError("template", "{problem}", {"problem": str(error), "hint": hint}) from None
    if not all(character.isprintable() for character in text):
        raise PydanticCustomError("template", "has a character that cannot be printed", {"hint": "write each line as an entry of its own"})
    return text


class Stretch(Block):
    """From the sensor's light to brightness on a screen."""

    method: Literal["auto", "linear", "asinh"] = key(
        "auto",
        "Method",
        "auto: the background is shown at `target`, each picture by itself; linear: a straight line; asinh: a line for faint light that bends over for bright.",
    )
    target: Float = key(0.25, "Target", "Brightness the background of the sky is shown at; method auto.", ge=0.05, le=0.6)
    black_percent: Float = key(
        0.0, "Black", "Light, as a share of the sensor's range, that is shown black; methods linear and asinh.", unit="%", ge=0, le=90
    )
    white_percent: Float = key(100.0, "White", "Light that is shown white; methods linear and asinh.", unit="%", gt=0, le=100)
    softening: Float = key(
        0.02, "Softening", "Share between black and white at which the curve begins to bend; method asinh. Less is brighter.", ge=0.0001, le=1
    )

    @field_validator("white_percent", mode="after")
    @classmethod
    def _above_black(cls, value: float, info: ValidationInfo) -> float:
        if value <= info.data.get("black_percent", 0.0):
            raise PydanticCustomError("levels", "must be above black_percent", {"hint": "such as 0 and 100"})
        return value


class Circle(Block):
    """The circle of light of a fisheye lens, in pixels of the whole picture as the sensor sees it: column, row, radius."""

    x: Float = key(..., "Column", "Column of the middle.", unit="px", ge=-20000, le=40000)
    y: Float = key(..., "Row", "Row of the middle.", unit="px", ge=-20000, le=40000)
    radius: Float = key(..., "Radius", "What is farther away is shown black.", unit="px", gt=0, le=40000)


class Crop(Block):
    """A part of the picture, after it was turned and flipped."""

    x: Int = key(0, "Column", "Left edge.", unit="px", ge=0, le=40000)
    y: Int = key(0, "Row", "Upper edge.", unit="px", ge=0, le=40000)
    width: Int = key(..., "Width", "Width of the part.", unit="px", ge=16, le=40000)
    height: Int = key(..., "Height", "Height of the part.", unit="px", ge=16, le=40000)


class Overlay(Block):
    """Text on the picture, and the points of the compass."""

    lines: Annotated[list[Annotated[str, Field(max_length=200), AfterValidator(_line)]], Field(max_length=8)] = key(
        [],
        "Lines",
        f"Lines of text. In braces: {', '.join(NAMES)}.",
        rule="list of texts",
    )
    corner: Literal["top_left", "top_right", "bottom_left", "bottom_right"] = key("bottom_left", "Corner", "Where the lines stand.")
    size_percent: Float = key(2.0, "Size", "Height of a line, as a share of the picture's height.", unit="%", ge=0.5, le=10)
    north_deg: Float | None = key(
        None, "North", "Where north is in the finished picture, clockwise from its top; with it N, E, S and W are marked.", unit="°", ge=-360, le=360
    )
    east: Literal["left", "right"] = key(
        "left", "East", "On which side of north east is, looking from the middle: left for a camera that looks up at the sky."
    )

    @model_validator(mode="after")
    def _compass_known(self) -> "Overlay":
        if self.north_deg is None and any(piece.name == "compass" for line in self.lines for piece in parse(line)):
            raise PydanticCustomError("compass", "lines have {compass}, but north_deg is not given", {"hint": "say where north is in the picture"})
        return self


class Develop(Block):
    """From a sensor's samples to the picture people look at. Originals are never changed."""

    darks: bool = key(
        True, "Dark frames", "Subtract the master dark that fits, if there is one (`cupola darks capture`), and mend the pixels it names."
    )
    flat: ConfigPath | None = key(None, "Flat", "An original (.fits.fz) of an evenly lit field, by which the fall-off of light is evened out.")
    hot_pixels: bool = key(True, "Hot pixels", "Mend single pixels that glow by themselves; stars stay.")
    white_balance: Literal["auto", "gains"] = key("auto", "White balance", "auto: the background is grey; gains: by the three factors.")
    gains: Annotated[list[Float], AfterValidator(_gains)] = key(
        [1.0, 1.0, 1.0], "Gains", "Factors of red, green and blue; with white_balance: gains.", rule="three numbers from 0.05 to 20"
    )
    stretch: Stretch = group(dict, "Stretch", "From the sensor's light to brightness on a screen.")
    circle: Circle | None = key(None, "Lens circle", "The circle of light of a fisheye lens; what lies outside is black and is not measured.")
    rotate_deg: Float = key(0.0, "Rotation", "Clockwise; quarter turns keep every pixel.", unit="°", ge=-360, le=360)
    flip: Literal["none", "horizontal", "vertical"] = key("none", "Flip", "horizontal: left and right change sides. After the rotation.")
    crop: Crop | None = key(None, "Crop", "The part that is kept, after rotation and flip; null: all.")
    overlay: Overlay = group(dict, "Overlay", "Text on the picture, and the points of the compass.")

    def recipe(self) -> dict[str, Any]:
        """The keys in JSON types, as `darkroom.recipe` takes them."""
        return self.model_dump(mode="json")
