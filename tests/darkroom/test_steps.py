"""The steps of developing, each by itself: curves, turning, cropping, the lens's circle, text."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import simplejpeg

from cupola.core.frame import PixelFormat, PixelKind
from cupola.darkroom.develop import develop
from cupola.darkroom.encode import BLOCK, beneath_of, encode_jpeg, encode_png16, note_of, uncover, with_beneath, with_note
from cupola.darkroom.geometry import cropped, finished, narrowed, shape
from cupola.darkroom.opencv import opencv
from cupola.darkroom.overlay import beneath, draw, lay_out
from cupola.darkroom.recipe import Circle, Crop, Overlay, Recipe, Stretch
from cupola.storage.jpeg import jpeg_size

MONO = PixelFormat(PixelKind.MONO, bits=12, black_level=64)
BAYER = PixelFormat(PixelKind.BAYER, bits=12, bayer="RGGB", black_level=64)
RANGE = 4095 - 64


def _level(share: float, method: Stretch, layout: PixelFormat = MONO, correction: float = 0.0, **recipe: object) -> float:
    frame = np.full((64, 64), 64 + round(share * RANGE), np.uint16)
    return float(np.median(develop(frame, layout, Recipe(stretch=method, **recipe), correction=correction)))  # pyright: ignore[reportArgumentType]


def test_linear_is_a_straight_line_between_black_and_white() -> None:
    line = Stretch("linear", black_percent=10, white_percent=60)
    assert [_level(share, line) for share in (0.05, 0.1, 0.35, 0.6, 0.9)] == pytest.approx([0, 0, 127.5, 255, 255], abs=1)


def test_asinh_lifts_faint_light_and_keeps_black_and_white() -> None:
    bend = Stretch("asinh", softening=0.01)
    assert [_level(share, bend) for share in (0.0, 1.0)] == [0, 255]
    assert _level(0.01, bend) == pytest.approx(255 * np.arcsinh(1.0) / np.arcsinh(100.0), abs=2)
    assert _level(0.1, bend) > _level(0.1, Stretch("asinh", softening=0.1)) > 255 * 0.1


def test_the_background_is_shown_at_the_target() -> None:
    sky = np.clip(np.random.default_rng(1).normal(400, 25, (240, 320)), 0, 4095).astype(np.uint16)
    for target in (0.15, 0.25, 0.4):
        assert np.median(develop(sky, MONO, Recipe(stretch=Stretch(target=target)))) == pytest.approx(255 * target, abs=12)


def test_a_correction_in_stops_is_a_factor_on_light() -> None:
    line = Stretch("linear")
    assert _level(0.2, line, correction=1.0) == pytest.approx(2 * _level(0.2, line), abs=1.5)
    assert _level(0.2, line, correction=-1.0) == pytest.approx(_level(0.2, line) / 2, abs=1.5)


def test_gains_balance_colours_and_white_stays_white() -> None:
    mosaic = np.full((64, 64), 64 + round(0.2 * RANGE), np.uint16)
    mosaic[40:50, 40:50] = 4095
    recipe = Recipe(white_balance="gains", gains=(2.0, 1.0, 1.5), stretch=Stretch("linear"), hot_pixels=False)
    picture = develop(mosaic, BAYER, recipe)
    assert picture[10, 10].tolist() == pytest.approx([102, 51, 76], abs=2)
    assert picture[45, 45].tolist() == [255, 255, 255]


def test_what_lies_outside_of_the_lens_is_black_and_does_not_count() -> None:
    frame = np.clip(np.random.default_rng(1).normal(100, 20, (400, 600)), 0, 4095).astype(np.uint16)
    rows, columns = np.ogrid[:400, :600]
    circle = (rows - 180) ** 2 + (columns - 250) ** 2 <= 150**2
    frame[circle] += 500
    picture = develop(frame, MONO, Recipe(circle=Circle(250, 180, 150)))
    assert not picture[~circle].any()
    assert np.median(develop(frame, MONO)[circle]) > 150
    assert np.median(picture[circle]) == pytest.approx(64, abs=12), "as if there were nothing but sky"


def _arrow(colour: bool) -> npt.NDArray[np.uint8]:
    """Something without any symmetry."""
    picture = np.zeros((30, 50), np.uint8)
    picture[3:6, 8:20], picture[3:15, 8:10] = 200, 100
    return np.dstack([picture] * 3) if colour else picture


@pytest.mark.parametrize("colour", [False, True])
def test_quarter_turns_and_flips_keep_every_pixel(colour: bool) -> None:
    arrow = _arrow(colour)
    assert np.array_equal(shape(arrow, Recipe(rotate_deg=90)), np.rot90(arrow, -1))
    assert np.array_equal(shape(arrow, Recipe(rotate_deg=-90)), np.rot90(arrow))
    assert np.array_equal(shape(arrow, Recipe(rotate_deg=180)), arrow[::-1, ::-1])
    assert np.array_equal(shape(arrow, Recipe(flip="horizontal")), arrow[:, ::-1])
    assert np.array_equal(shape(arrow, Recipe(flip="vertical")), arrow[::-1])


@pytest.mark.parametrize("turn", [0, 90, 180, 270, 30, -77.5])
@pytest.mark.parametrize("flip", ["none", "horizontal", "vertical"])
def test_a_star_lies_where_the_formula_says(turn: float, flip: str) -> None:
    picture = np.zeros((120, 160), np.uint8)
    picture[50:53, 70:73] = 255
    recipe = Recipe(rotate_deg=turn, flip=flip, crop=Crop(10, 5, 100, 90))  # pyright: ignore[reportArgumentType]
    done = shape(picture, recipe)
    rows, columns = np.nonzero(done > 100)
    assert finished(71, 51, 160, 120, recipe) == pytest.approx((columns.mean(), rows.mean()), abs=0.6)


def test_a_crop_takes_what_there_is_and_refuses_nothing_but_nothing() -> None:
    picture = np.zeros((30, 50, 3), np.uint8)
    assert cropped(picture, Crop(40, 20, 100, 100)).shape == (10, 10, 3)
    with pytest.raises(ValueError, match="nothing is left"):
        cropped(picture, Crop(50, 0, 10, 10))
    assert narrowed(picture, 25).shape == (15, 25, 3)
    assert narrowed(picture, 50) is picture


@pytest.mark.parametrize("sky", [0, 128, 255])
@pytest.mark.parametrize("corner", ["top_left", "top_right", "bottom_left", "bottom_right"])
def test_text_is_legible_on_any_sky_and_stays_in_its_corner(sky: int, corner: str) -> None:
    picture = np.full((600, 800, 3), sky, np.uint8)
    overlay = Overlay(lines=("x", "y"), corner=corner, size_percent=4)  # pyright: ignore[reportArgumentType]
    done = draw(picture, lay_out(picture.shape, overlay, ["Zürich 21:14 −10 °C", "{gain}"], None))
    changed = np.nonzero(np.any(done != sky, axis=2))
    letters = done[changed]
    assert letters.max() > 240
    assert letters.min() < 80, "white letters with a dark rim"
    rows, columns = changed
    assert (rows.mean() < 150) == corner.startswith("top")
    assert (columns.mean() < 300) == corner.endswith("left")
    assert rows.min() > 0 and rows.max() < 599 and columns.min() > 0 and columns.max() < 799
    assert np.any(np.diff(letters.astype(int), axis=1) == 0)


def test_text_that_is_too_long_is_cut_and_a_tiny_picture_is_survived() -> None:
    overlay = Overlay(lines=("x",) * 8, corner="bottom_right", north_deg=33.0, size_percent=10)
    for shape_ in ((20, 30), (20, 30, 3), (600, 40, 3)):
        assert draw(np.zeros(shape_, np.uint8), lay_out(shape_, overlay, ["long " * 30] * 8, (15, 10, 200))).shape == shape_


def test_the_compass_stands_where_north_is_and_east_is_on_its_side() -> None:
    def at(east: str, letter_angle_deg: float) -> float:
        overlay = Overlay(north_deg=30.0, east=east, size_percent=5)  # pyright: ignore[reportArgumentType]
        done = draw(np.zeros((400, 600), np.uint8), lay_out((400, 600), overlay, [], (250.0, 210.0, 150.0)))
        angle = np.radians(letter_angle_deg)
        x, y = 250 + 141 * np.sin(angle), 210 - 141 * np.cos(angle)
        return float(done[round(y) - 14 : round(y) + 15, round(x) - 14 : round(x) + 15].max())

    assert all(at("left", angle) > 200 for angle in (30, 120, 210, 300))
    assert at("left", 75) == 0
    north = draw(np.zeros((400, 600), np.uint8), lay_out((400, 600), Overlay(north_deg=0.0, size_percent=5), [], (300.0, 200.0, 180.0)))
    other = draw(np.zeros((400, 600), np.uint8), lay_out((400, 600), Overlay(north_deg=0.0, east="right", size_percent=5), [], (300.0, 200.0, 180.0)))
    assert np.array_equal(north[:100], other[:100]), "N is the same"
    left = slice(105, 160)  # where E or W stands
    assert north[170:230, left].any()
    assert north[170:230, left].sum() != other[170:230, left].sum(), "E and W have changed sides"


@pytest.mark.parametrize("colour", [False, True])
def test_16_bit_are_the_same_picture_with_finer_steps(colour: bool) -> None:
    sky = np.clip(np.random.default_rng(2).normal(300, 30, (120, 160)), 0, 4095).astype(np.uint16)
    layout = BAYER if colour else MONO
    fine, plain = develop(sky, layout, Recipe(), depth=16), develop(sky, layout, Recipe())
    assert fine.dtype == np.uint16
    assert np.abs(fine / 257 - plain).mean() < 1
    assert len(np.unique(fine)) > len(np.unique(plain))
    marked = draw(fine, lay_out(fine.shape, Overlay(lines=("x",)), ["x 16 bit"], None))
    cv2 = opencv()
    back = cv2.imdecode(np.frombuffer(encode_png16(marked), np.uint8), cv2.IMREAD_UNCHANGED)
    assert back.dtype == np.uint16
    assert np.array_equal(back if not colour else back[:, :, ::-1], marked)


@pytest.mark.parametrize("colour", [False, True])
def test_what_was_beneath_the_words_is_in_the_jpeg_and_comes_back(colour: bool) -> None:
    rng = np.random.default_rng(5)
    clean = rng.integers(0, 255, (300, 500, 3) if colour else (300, 500), np.uint8)
    laid = lay_out(clean.shape, Overlay(lines=("x",) * 6, north_deg=20.0, size_percent=9), ["a long line of words"] * 6, None)
    pieces = [(column, row, encode_jpeg(piece, 100)) for column, row, piece in beneath(clean, laid, BLOCK)]
    assert sum(len(piece) for _, _, piece in pieces) > 65536, "more than one segment"
    stored = with_note(with_beneath(encode_jpeg(draw(clean.copy(), laid), 100), pieces), {"recipe": "x"})
    assert note_of(stored) == {"recipe": "x"} and beneath_of(stored) == pieces and jpeg_size(stored) == (500, 300)
    picture, plain = simplejpeg.decode_jpeg(stored, "RGB"), simplejpeg.decode_jpeg(encode_jpeg(clean, 100), "RGB")
    assert np.abs(picture.astype(int) - plain).max() > 100
    uncover(picture, stored)
    if colour:  # the decoder smooths colours over the edges of blocks
        assert np.abs(picture.astype(int) - plain).mean() < 1
    else:
        assert np.array_equal(picture, plain)
    assert beneath_of(encode_jpeg(clean, 90)) == []


def test_a_note_in_a_jpeg_is_found_again_and_changes_no_pixel() -> None:
    jpeg = encode_jpeg(np.random.default_rng(1).integers(0, 255, (40, 60, 3)).astype(np.uint8), 90)
    noted = with_note(jpeg, {"recipe": "abc"})
    assert note_of(noted) == {"recipe": "abc"}
    assert note_of(jpeg) == note_of(b"") == note_of(jpeg[:1]) == {}
    assert np.array_equal(simplejpeg.decode_jpeg(noted, strict=True), simplejpeg.decode_jpeg(jpeg))
    assert noted[:4] == jpeg[:4], "the JFIF header comes first"
