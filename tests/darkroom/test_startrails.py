"""Startrails by themselves: what is brightest stays, skies that are too bright do not, gaps are closed when wanted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import simplejpeg
from tests.darkroom.nights import RECIPE, jpeg, sky

from cupola.darkroom import facts as developed
from cupola.darkroom.encode import beneath_of, with_beneath
from cupola.darkroom.growth import LeftOut, Picture, Shot, Window
from cupola.darkroom.job import Developer, Order
from cupola.darkroom.products import Growth
from cupola.darkroom.recipe import Overlay, Recipe
from cupola.darkroom.startrails import Settings, Startrails

AT = datetime(2026, 3, 14, 18, 0, tzinfo=UTC)


def _of(pictures: Sequence[Picture], *, margin: float | None = 0.1, gaps_px: int = 0) -> Startrails:
    trails = Startrails(Settings(True, margin, gaps_px))
    for number, picture in enumerate(pictures):
        trails.add(picture, Shot(number + 1, Path(f"{number}.jpg"), AT, 1.0))
    return trails


def _picture(trails: Startrails) -> Picture:
    pixels = trails.state()[1]
    assert pixels is not None
    return pixels


def _brightest(pictures: Sequence[Picture]) -> Picture:
    return np.max(np.stack(pictures), axis=0)


def test_the_brightest_value_of_all_images_stays_at_each_pixel() -> None:
    pictures = [sky(number) for number in range(30)]
    trails = _of(pictures)
    assert (_picture(trails) == _brightest(pictures)).all()
    assert trails.taken == 30


def test_twilight_along_the_horizon_of_a_fisheye_is_left_out() -> None:
    """Half of the picture is black, and the glow is a fifth of the rest."""
    dark = [np.where(np.arange(240)[None, :, None] < 120, sky(number), 0).astype(np.uint8) for number in range(10)]
    glow = [np.where(np.arange(240)[None, :, None] < 24, 250, picture).astype(np.uint8) for picture in dark]
    assert (_picture(_of([*glow[:3], *dark[3:7], *glow[7:]])) == _brightest(dark[3:7])).all()


def test_dusk_and_dawn_do_not_wash_the_trails_out() -> None:
    """From twilight to dark and back: what is left are images within the margin of the darkest."""
    levels = [*range(220, 40, -8), *[40] * 20, *range(40, 220, 8)]
    pictures = [sky(number, background=level) for number, level in enumerate(levels)]
    trails = _of(pictures)
    dark = [picture for picture, level in zip(pictures, levels, strict=True) if level <= 40]
    assert 20 <= trails.taken <= 27
    assert (_picture(trails) >= _brightest(dark)).all()
    assert np.median(_picture(trails)) < np.median(_brightest(dark)) + 0.1 * 255
    without_gate = _of(pictures, margin=None)
    assert np.median(_picture(without_gate)) > 200


def test_the_moon_and_clouds_are_kept_out_and_what_was_gathered_before_stays() -> None:
    dark, bright = [sky(number) for number in range(20)], [sky(number, background=110.0) for number in range(20, 30)]
    clouded = sky(30)
    clouded[:60] = np.maximum(clouded[:60], 140)  # more than a third of the sky
    trails = _of([*dark, *bright, clouded, *[sky(number) for number in range(31, 35)]])
    assert trails.taken == 24
    assert (_picture(trails) == _brightest([*dark, *[sky(number) for number in range(31, 35)]])).all()


def test_a_night_under_the_moon_has_trails_too() -> None:
    pictures = [sky(number, background=120.0) for number in range(20)]
    assert _of(pictures).taken == 20


@pytest.mark.parametrize(("gaps_px", "closed"), [(0, False), (20, False), (30, True)])
def test_gaps_between_the_trails_of_two_exposures_are_closed_when_wanted(gaps_px: int, closed: bool) -> None:
    pictures = [np.full((80, 120, 3), 20, np.uint8) for _ in range(2)]
    pictures[0][40:42, 30:50] = 200
    pictures[1][40:42, 58:78] = 200
    result = _picture(_of(pictures, gaps_px=gaps_px))
    lit = result.max(axis=2) > 120
    assert bool(lit[41, 50:58].all()) is closed
    assert result[20].max() == 20, "light where no star was"
    assert lit.sum(axis=0).max() == 2, "a trail became thicker"
    assert not lit[:, :30].any() and not lit[:, 78:].any(), "a trail became longer"


def test_no_gap_is_closed_over_an_image_that_was_kept_out() -> None:
    pictures = [np.full((80, 120, 3), 20, np.uint8) for _ in range(2)]
    pictures[0][40:42, 30:50] = 200
    pictures[1][40:42, 58:78] = 200
    result = _picture(_of([pictures[0], np.full((80, 120, 3), 180, np.uint8), pictures[1]], gaps_px=30))
    assert result[41, 52:56].max() == 20


@pytest.mark.parametrize("gaps_px", [0, 5])
def test_they_go_on_from_their_state(gaps_px: int, tmp_path: Path) -> None:
    shots = []
    for number in range(12):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(jpeg(sky(number)))
        shots.append((simplejpeg.decode_jpeg(path.read_bytes(), "RGB"), Shot(number + 1, path, AT, 1.0)))
    straight, first, second = (Startrails(Settings(True, 0.1, gaps_px)) for _ in range(3))
    for picture, shot in shots:
        straight.add(picture, shot)
    for picture, shot in shots[:6]:
        first.add(picture, shot)
    facts, pixels = first.state()
    second.restore(facts, pixels)
    for picture, shot in shots[6:]:
        second.add(picture, shot)
    assert (_picture(second) == _picture(straight)).all()


def test_an_image_of_another_size_is_left_out() -> None:
    trails = _of([sky(1)])
    with pytest.raises(LeftOut, match="120 x 100 pixels, not 240 x 160"):
        trails.add(sky(2, (100, 120)), Shot(2, Path("x.jpg"), AT, 1.0))


def test_no_words_of_the_overlay_are_gathered_by_startrails_and_keogram_and_the_video_shows_them(tmp_path: Path) -> None:
    """The images as the darkroom stores them, with and without an overlay; each has other words."""
    recipe: dict[str, Any] = {**RECIPE, "keogram": {**RECIPE["keogram"], "angle_deg": 90.0}}  # the row through the middle, where E and W stand
    window = Window(AT, AT + timedelta(hours=1), 60.0, "UTC")
    words = Overlay(lines=("{time}",), size_percent=8.0, north_deg=0.0)
    made: dict[bool, dict[str, Picture]] = {}
    for written in (False, True):
        growth = Growth(tmp_path / str(written), recipe, window)
        for number in range(1, 6):
            opened = AT + timedelta(minutes=11 * number)
            source, path = tmp_path / "source.jpg", tmp_path / f"{number}.jpg"
            source.write_bytes(jpeg(sky(number)))
            shot = developed.Shot(opened, "north")
            path.write_bytes(Developer().make(source, Order(Recipe(flip="horizontal", overlay=words if written else Overlay()), shot=shot)).data)
            growth.add(Shot(number, path, opened, 1.0))
            if written:
                assert len(beneath_of(path.read_bytes())) == 5, "one line, four points of the compass"
        made[written] = {}
        for kind in ("startrails", "keogram"):
            assert growth.preview(kind, tmp_path / "made.jpg")
            made[written][kind] = simplejpeg.decode_jpeg((tmp_path / "made.jpg").read_bytes())
        movie = growth.write("timelapse", tmp_path / f"{written}.mp4")
        assert movie is not None
        with av.open(str(movie.path)) as container:
            made[written]["timelapse"] = np.asarray(next(container.decode(video=0)).to_ndarray(format="rgb24"), np.uint8)
    apart = {kind: np.abs(made[True][kind].astype(int) - made[False][kind]).max() for kind in made[True]}
    assert apart["startrails"] <= 12 and apart["keogram"] <= 12, apart  # chroma is smoothed over the edge of a block
    assert apart["timelapse"] > 150, apart


def test_an_image_whose_beneath_is_damaged_is_left_out_and_named(tmp_path: Path) -> None:
    window = Window(AT, AT + timedelta(hours=1), 60.0, "UTC")
    growth = Growth(tmp_path / "state", RECIPE, window)
    for number, content in enumerate((jpeg(sky(1)), with_beneath(jpeg(sky(2)), [(0, 0, b"torn")])), start=1):
        (tmp_path / f"{number}.jpg").write_bytes(content)
        growth.add(Shot(number, tmp_path / f"{number}.jpg", AT + timedelta(minutes=number), 1.0))
    assert {kind: ledger.images for kind, ledger in growth.ledgers.items()} == {"keogram": 1, "startrails": 1, "timelapse": 2}
    assert "2.jpg" in (growth.ledgers["startrails"].message or "")
