"""Shutter speeds, f-numbers, ISO and image formats as Canon, Nikon and Sony write them."""

import pytest

from cupola.drivers.gphoto_words import Scale, f_number, files_of, format_choice, is_bulb, iso, shutter_s


@pytest.mark.parametrize(
    ("word", "seconds"),
    [("1/250", 0.004), ("0.0100s", 0.01), ("30", 30.0), ("2.5", 2.5), ("1.3s", 1.3), ("10/25", 0.4), ("1/2.5", 0.4), ("300/10", 30.0), ('2"', 2.0)],
)
def test_a_speed_is_its_seconds(word: str, seconds: float) -> None:
    assert shutter_s(word) == pytest.approx(seconds)


@pytest.mark.parametrize("word", ["Bulb", "bulb", "Time", "Auto", "x 250", "429496.7295s", "0/0", "", "65535/0"])
def test_a_word_that_is_no_speed_has_no_seconds(word: str) -> None:
    assert shutter_s(word) is None


def test_bulb_is_known_by_its_word_and_by_nikons_number() -> None:
    assert [word for word in ("Bulb", "bulb", "429496.7295s", "30", "Time") if is_bulb(word)] == ["Bulb", "bulb", "429496.7295s"]


def test_f_numbers_and_iso_are_read_and_automatic_ones_are_not() -> None:
    assert [f_number(word) for word in ("f/2.8", "5.6", "F4", "f/0", "implicit auto")] == [2.8, 5.6, 4.0, None, None]
    assert [iso(word) for word in ("800", "ISO 1600", "Auto", "Auto ISO")] == [800.0, 1600.0, None, None]


def test_the_nearest_speed_is_the_one_that_differs_least_in_stops() -> None:
    scale = Scale.of(("30", "15", "8", "1", "1/2", "Bulb", "1/1000"), shutter_s)
    assert scale.values == (0.001, 0.5, 1.0, 8.0, 15.0, 30.0)
    assert [scale.nearest(seconds) for seconds in (21, 22, 3.0, 0.7, 99, 0.00001)] == [15, 30, 8.0, 0.5, 30, 0.001]


CANON = ("Large Fine JPEG", "Large Normal JPEG", "Small Fine JPEG", "RAW + Large Fine JPEG", "cRAW + Large Fine JPEG", "RAW", "cRAW")
NIKON = ("JPEG Basic", "JPEG Normal", "JPEG Fine", "NEF (Raw)", "NEF+Basic", "NEF+Fine")
SONY = ("Standard", "Fine", "Extra Fine", "RAW", "RAW+JPEG")


@pytest.mark.parametrize(
    ("choices", "pair", "raw", "jpeg"),
    [
        (CANON, "RAW + Large Fine JPEG", "RAW", "Large Fine JPEG"),
        (NIKON, "NEF+Fine", "NEF (Raw)", "JPEG Fine"),
        (SONY, "RAW+JPEG", "RAW", "Extra Fine"),
        (("L", "RAW + L", "RAW"), "RAW + L", "RAW", None),
    ],
)
def test_an_image_format_is_the_best_of_its_kind(choices: tuple[str, ...], pair: str, raw: str, jpeg: str | None) -> None:
    assert [format_choice(kind, choices) for kind in ("raw+jpeg", "raw", "jpeg")] == [pair, raw, jpeg]
    assert (files_of(pair), files_of(raw)) == (2, 1)
