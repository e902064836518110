"""Telling a whole JPEG from a broken one without decoding it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cupola.drivers.jpeg import BadJpeg, EndFinder, decodes, inspect
from tests.drivers.sources import jpeg

WHOLE = jpeg(5)


def test_a_whole_jpeg_tells_its_size_and_may_be_padded() -> None:
    assert inspect(WHOLE) == (320, 240)
    assert inspect(WHOLE + b"\0\0\r\n") == (320, 240)
    assert decodes(WHOLE)


def test_a_small_jpeg_that_says_it_is_larger_than_any_camera_is_broken() -> None:
    at = WHOLE.index(b"\xff\xc0") + 5  # height and width, in SOF0

    def claims(height: int, width: int) -> bytes:
        return WHOLE[:at] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + WHOLE[at + 4 :]

    assert inspect(claims(10_000, 15_000)) == (15_000, 10_000)  # 150 MP: the largest sensors there are
    with pytest.raises(BadJpeg, match="65500 x 65500"):
        inspect(claims(65_500, 65_500))


@given(st.integers(0, len(WHOLE) - 1))
def test_a_jpeg_cut_anywhere_is_broken(length: int) -> None:
    with pytest.raises(BadJpeg):
        inspect(WHOLE[:length])


@given(st.binary(max_size=200))
def test_rubbish_is_broken_and_nothing_worse(data: bytes) -> None:
    for candidate in (data, b"\xff\xd8" + data, WHOLE[:300] + data):
        with pytest.raises(BadJpeg):
            inspect(candidate)
        EndFinder().find(candidate)


@settings(max_examples=50)
@given(st.lists(st.integers(1, 4000), min_size=1, max_size=30), st.binary(max_size=50))
def test_the_end_is_found_however_the_bytes_arrive(steps: list[int], behind: bytes) -> None:
    data, finder, at = WHOLE + behind, EndFinder(), 2
    for step in [*steps, len(data)]:
        at = min(len(data), at + step)
        end = finder.find(data[:at])
        assert end == (len(WHOLE) if at >= len(WHOLE) else None)
        if end is not None:
            break


def test_damage_within_the_data_is_seen_by_decoding_only() -> None:
    damaged = bytearray(WHOLE)
    damaged[len(WHOLE) // 2 : len(WHOLE) // 2 + 200] = b"\xff\xd0" * 100
    assert inspect(bytes(damaged)) == (320, 240)
    assert not decodes(bytes(damaged))
