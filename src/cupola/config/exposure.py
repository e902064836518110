"""Keys of auto exposure: `cameras[].exposure.auto`."""

from typing import Any, Literal

from pydantic import ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from cupola.config.base import Block, Float, key

_ORDERED = (("exposure_max_s", "exposure_min_s"), ("gain_max", "gain_min"), ("f_number_max", "f_number_min"))


class MeterRegion(Block):
    """The part of the picture that is metered, in fractions of its width and height."""

    shape: Literal["box", "ellipse"] = key("ellipse", "Shape", "The whole box, or the ellipse that fills it: a fisheye's circle.")
    x: Float = key(0.0, "Left", "Left edge of the box, as a fraction of the picture's width.", ge=0, lt=1)
    y: Float = key(0.0, "Top", "Top edge of the box, as a fraction of the picture's height.", ge=0, lt=1)
    width: Float = key(1.0, "Width", "Width of the box, as a fraction of the picture's.", gt=0, le=1)
    height: Float = key(1.0, "Height", "Height of the box, as a fraction of the picture's.", gt=0, le=1)

    @model_validator(mode="after")
    def _inside(self) -> "MeterRegion":
        for start, length in ((self.x, self.width), (self.y, self.height)):
            if start + length > 1 + 1e-9:
                raise PydanticCustomError("region", "reaches beyond the picture", {"hint": "x + width and y + height are at most 1"})
        return self


class AutoExposure(Block):
    """Exposure and gain of stills, chosen by what the still before showed: from day into night and back without a step."""

    on: bool = key(False, "On", "Choose exposure and gain of stills. A setting that is given by hand is left alone from then on.")
    target: Float = key(0.25, "Target", "Brightness of the sky, as a fraction of what the sensor holds.", ge=0.02, le=0.8)
    exposure_min_s: Float | None = key(None, "Shortest exposure", "null: the camera's shortest.", unit="s", gt=0, le=86400)
    exposure_max_s: Float | None = key(
        30.0, "Longest exposure", "null: the camera's longest. In a series with an interval it also has to fit into that.", unit="s", gt=0, le=86400
    )
    gain_min: Float | None = key(None, "Lowest gain", "In the camera's own scale; null: the camera's lowest.", ge=0, le=1_000_000)
    gain_max: Float | None = key(None, "Highest gain", "In the camera's own scale; null: the camera's highest.", ge=0, le=1_000_000)
    f_number_min: Float | None = key(None, "Widest aperture", "With either f-number the aperture is chosen too.", gt=0, le=128)
    f_number_max: Float | None = key(None, "Smallest aperture", "With either f-number the aperture is chosen too.", gt=0, le=128)
    prefer: Literal["exposure", "gain"] = key(
        "exposure", "What is raised first", "exposure: gain only when the exposure is the longest; gain: the other way round."
    )
    gain_scale: Literal["linear", "tenth_db"] | None = key(
        None,
        "Gain scale",
        "What a gain means, for a camera whose driver does not know: linear (twice is a stop, as ISO) or tenth_db. Without either the gain is left alone.",
    )
    region: MeterRegion | None = key(None, "Metered region", "null: the whole picture, where the dark corners of a fisheye do not count.")

    @field_validator(*(name for name, _ in _ORDERED), mode="after")
    @classmethod
    def _above_the_least(cls, value: float | None, info: ValidationInfo) -> float | None:
        least = info.data.get(dict(_ORDERED)[info.field_name or ""])
        if value is not None and isinstance(least, float) and value < least:
            raise PydanticCustomError("order", "is below the least one", {"hint": "give a greater one, or leave one of the two out"})
        return value

    def limits(self) -> dict[str, Any]:
        """What the camera process takes."""
        return self.model_dump(exclude={"on", "region"})
