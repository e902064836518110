"""What the API answers and accepts about developing; see `models` for the rest."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Dark(BaseModel):
    """A master dark."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(description="Of its file.")
    exposure_s: float
    gain: float | None
    temperature_c: float | None
    width: int
    height: int
    frames: int = Field(description="Exposures combined.")
    bad_pixels: int = Field(description="Pixels that are mended in every picture it is for.")
    made_at: datetime


class DarkList(BaseModel):
    items: list[Dark]
    next: str | None = None
    originals_kept: bool = Field(description="Whether storage.originals lets dark frames be combined.")


class DarkRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    session: Annotated[int, Field(ge=1, le=2**53, description="A finished series of stills with the lens covered.")]
