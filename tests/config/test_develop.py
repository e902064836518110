"""The keys of `develop`: what is wrong is said at the line it stands in, and the defaults are those of the darkroom."""

from __future__ import annotations

from pathlib import Path

import pytest

from cupola.config.develop import Develop
from cupola.config.load import from_text
from cupola.config.overrides import parse_changes, with_changes
from cupola.config.problems import ConfigProblems
from cupola.core.template import NAMES, parse
from cupola.darkroom.facts import Shot, lines_of
from cupola.darkroom.recipe import Circle, Crop, Recipe

START = "cameras:\n- name: sky\n  driver: simulator\n  develop:\n"


def _problem(lines: str) -> str:
    with pytest.raises(ConfigProblems) as refused:
        from_text(START + "".join(f"    {line}\n" for line in lines.splitlines()), "cupola.yaml", Path("/"))
    return str(refused.value)


def test_the_defaults_of_the_configuration_are_those_of_the_darkroom() -> None:
    assert Recipe.from_dict(Develop().recipe()) == Recipe()


def test_every_key_reaches_the_darkroom() -> None:
    text = """    darks: false
    flat: flats/f.fits.fz
    hot_pixels: false
    white_balance: gains
    gains: [1.8, 1, 1.5]
    stretch: {method: asinh, target: 0.3, black_percent: 1, white_percent: 80, softening: 0.1}
    circle: {x: 100, y: 90.5, radius: 80}
    rotate_deg: 12.5
    flip: vertical
    crop: {x: 1, y: 2, width: 30, height: 40}
    overlay: {lines: ["{time}"], corner: top_right, size_percent: 3, north_deg: 10, east: right}
"""
    recipe = Recipe.from_dict(from_text(START + text, "cupola.yaml", Path("/etc/sky")).cameras[0].develop.recipe())
    assert recipe.flat == str(Path("/etc/sky/flats/f.fits.fz"))
    assert (recipe.gains, recipe.circle, recipe.crop) == ((1.8, 1.0, 1.5), Circle(100.0, 90.5, 80.0), Crop(1, 2, 30, 40))
    assert (recipe.stretch.method, recipe.stretch.white, recipe.overlay.lines, recipe.overlay.east) == ("asinh", 0.8, ("{time}",), "right")
    assert recipe.shapes_picture
    different = [field for field in Recipe.__dataclass_fields__ if getattr(recipe, field) == getattr(Recipe(), field)]
    assert different == [], "each key was changed"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("overlay:\n  lines: ['{tme}']", 'cupola.yaml:6: cameras[0].develop.overlay.lines[0]: {tme} is no name; did you mean "time"?'),
        ("overlay:\n  lines:\n  - ok\n  - '{gain:3}'", "cupola.yaml:8: cameras[0].develop.overlay.lines[1]: {gain} takes no format"),
        ("overlay:\n  lines: ['{ x']", "a brace without its partner"),
        ("overlay:\n  lines: ['{time!r}']", "cannot be written like that"),
        ('overlay:\n  lines: ["a\\tb"]', "a character that cannot be printed"),
        ("overlay:\n  lines: ['top {compass}']", "lines have {compass}, but north_deg is not given"),
        ("gains: [1, 2]", "cupola.yaml:5: cameras[0].develop.gains: must be three numbers from 0.05 to 20"),
        ("gains: [1, 2, 0]", "must be three numbers"),
        ("stretch: {method: asin}", 'did you mean "asinh"?'),
        ("stretch: {black_percent: 5, white_percent: 4}", "must be above black_percent"),
        ("crop: {x: 4}", "crop.width: is missing"),
        ("circle: {x: 4, y: 5, radius: 0}", "must be above 0"),
        ("rotate: 4", 'did you mean "rotate_deg"?'),
    ],
)
def test_a_mistake_is_said_with_its_place_and_what_to_write(lines: str, said: str) -> None:
    assert said in _problem(lines)


def test_all_names_of_the_overlay_have_words() -> None:
    from tests.darkroom.station import AT

    from cupola.core.frame import Station
    from cupola.darkroom.recipe import Overlay

    overlay = Overlay(lines=tuple(f"{{{name}}}" for name in NAMES), north_deg=0.0)
    words = lines_of(overlay, Shot(AT, "north", 0.004, 100.0, 2.8, -10.04), Station("hill", 47.0, 8.0, 400.0, "Europe/Zurich"))
    said = dict(zip(NAMES, words, strict=True))
    assert (said["time"], said["utc"]) == ("2026-11-22 00:00:00", "2026-11-21 23:00:00")
    assert (said["exposure"], said["gain"], said["f_number"], said["temperature"]) == ("4 ms", "100", "f/2.8", "−10.0 °C")
    assert (said["compass"], said["station"], said["camera"]) == ("N", "hill", "north")
    assert said["sun"] == "−63°"
    assert said["moon"].endswith(" %")
    unknown = dict(zip(NAMES, lines_of(overlay, Shot(AT, "north"), Station()), strict=True))
    assert {unknown[name] for name in ("exposure", "gain", "f_number", "temperature")} == {"–"}


def test_braces_and_formats_are_kept() -> None:
    assert "".join(piece.text for piece in parse("{{a}} {time:%H:%M}")) == "{a} "
    assert parse("{time:%H:%M}")[0].form == "%H:%M"


def test_changes_for_one_picture_are_checked_like_the_file() -> None:
    base = Develop.model_validate({"overlay": {"lines": ["costs ${{five}}"], "north_deg": 5.0}})
    changed = with_changes(base, parse_changes(("stretch.method=asinh", "overlay.corner=top_left", "rotate_deg=90"), "--set"), "--set", Path("/"))
    assert (changed.stretch.method, changed.rotate_deg, changed.overlay.corner) == ("asinh", 90.0, "top_left")
    assert (changed.overlay.lines, changed.overlay.north_deg) == (["costs ${{five}}"], 5.0)
    for words, said in (
        (("stretch.metod=x",), '--set: stretch.metod: unknown key; did you mean "method"?'),
        (("rotate_deg=far",), "--set: rotate_deg: must be a number"),
        (("rotate_deg",), "has no = between key and value"),
        (("gains=[1",), "is not valid YAML"),
    ):
        with pytest.raises(ConfigProblems) as refused:
            with_changes(base, parse_changes(words, "--set"), "--set", Path("/"))
        assert said in str(refused.value)


def test_the_digest_tells_recipes_apart_and_is_the_same_each_time() -> None:
    assert Recipe().digest() == Recipe.from_dict(Develop().recipe()).digest()
    assert len({Recipe().digest(), Recipe(rotate_deg=90).digest(), Recipe(hot_pixels=False).digest()}) == 3
