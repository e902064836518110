"""The `replay` driver: folders with all kinds of images, films whole and cut short."""

import contextlib
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from astropy.io import fits

from cupola.core.errors import CameraLost, CameraNotFound, CaptureCancelled
from cupola.core.frame import Frame, Packet, PixelKind, Station, Stop
from cupola.drivers.decode import Decoder
from cupola.drivers.replay import Replay
from tests.drivers.sources import jpeg, write_video
from tests.support.mjpeg_source import read_barcode

SIXTEEN = (np.arange(48 * 64).reshape(48, 64) * 20).astype(np.uint16)


def replay(path: Path, rate_fps: float | None = 200.0, loop: bool = False) -> Replay:
    return Replay({"path": str(path), "rate_fps": rate_fps, "loop": loop}, Station())


def played(camera: Replay, most: int = 1000) -> tuple[list[Any], str]:
    """What it plays, and what it says at the end."""
    pictures: list[Any] = []
    camera.open()
    try:
        with contextlib.closing(camera.stream(Stop())) as stream:
            pictures.extend(islice(stream, most))
    except CameraLost as end:
        return pictures, str(end)
    finally:
        camera.close()
    return pictures, ""


def refusal(camera: Replay) -> str:
    with pytest.raises(CameraNotFound) as caught:
        camera.open()
    camera.close()
    return str(caught.value)


def test_a_folder_comes_in_the_order_of_names_and_jpeg_untouched(tmp_path: Path) -> None:
    for number in (3, 1, 2):
        (tmp_path / f"{number}.JPG").write_bytes(jpeg(number))
    (tmp_path / "notes.txt").write_text("not an image")
    pictures, end = played(replay(tmp_path))
    assert [picture.data for picture in pictures] == [jpeg(1), jpeg(2), jpeg(3)]
    assert "loop: true" in end


def test_exposures_take_each_image_in_turn_and_start_again(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(number))
    camera = replay(tmp_path, loop=True)
    camera.open()
    assert [camera.expose(Stop()).data for _ in range(5)] == [jpeg(n) for n in (0, 1, 2, 0, 1)]
    camera.close()


def test_waiting_for_the_next_image_is_cancelled_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    for cancel_by in ("stop", "interrupt"):
        camera, stop = replay(tmp_path, rate_fps=1 / 60, loop=True), Stop()
        camera.open()
        camera.expose(stop)
        threading.Timer(0.2, stop.set if cancel_by == "stop" else camera.interrupt).start()
        started = time.monotonic()
        with pytest.raises(CaptureCancelled):
            camera.expose(stop)
        assert time.monotonic() - started < 1
        camera.close()


def test_corrupt_images_are_passed_over_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    damaged = bytearray(jpeg(2))
    damaged[len(damaged) // 2 : len(damaged) // 2 + 400] = b"\xff\xd0" * 200
    for name, data in {"1.jpg": jpeg(1), "2.jpg": jpeg(2)[:3000], "3.jpg": b"", "4.png": b"no", "5.jpg": bytes(damaged), "6.jpg": jpeg(6)}.items():
        (tmp_path / name).write_bytes(data)
    pictures, _ = played(replay(tmp_path))
    assert [picture.data for picture in pictures] == [jpeg(1), jpeg(6)]
    assert pictures[1].dropped_before == 4
    assert [Path(record.getMessage().split()[0]).name for record in caplog.records] == ["2.jpg", "3.jpg", "4.png", "5.jpg"]


@pytest.mark.parametrize(
    ("name", "kind", "dtype"),
    [
        ("grey16.png", PixelKind.MONO, np.uint16),
        ("grey16.tif", PixelKind.MONO, np.uint16),
        ("grey8.png", PixelKind.MONO, np.uint8),
        ("colour.bmp", PixelKind.RGB, np.uint8),
        ("bayer.fits", PixelKind.BAYER, np.uint16),
        ("rice.fits.fz", PixelKind.MONO, np.uint16),
    ],
)
def test_other_formats_come_with_their_pixels(tmp_path: Path, name: str, kind: PixelKind, dtype: type) -> None:
    path, eight = tmp_path / name, (SIXTEEN >> 8).astype(np.uint8)
    expected: Any = SIXTEEN
    if name == "bayer.fits":
        header = fits.Header({"BAYERPAT": "GBRG", "EXPTIME": 30.0, "GAIN": 120})
        fits.PrimaryHDU(SIXTEEN, header).writeto(path)
    elif name == "rice.fits.fz":
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(SIXTEEN, compression_type="RICE_1")]).writeto(path)
    else:
        expected = {"grey16": SIXTEEN, "grey8": eight, "colour": np.dstack([eight, eight // 2, eight // 4])}[path.stem]
        assert cv2.imwrite(str(path), expected)
    (picture,), _ = played(replay(tmp_path))
    assert isinstance(picture, Frame)
    assert picture.format.kind is kind and picture.data.dtype == dtype and not picture.data.flags.writeable
    assert np.array_equal(picture.data, expected[..., ::-1] if kind is PixelKind.RGB else expected)
    if kind is PixelKind.BAYER:
        assert picture.format.bayer == "GBRG"
        assert (picture.applied.exposure_s, picture.applied.gain) == (30.0, 120.0)


def test_a_fits_cut_short_is_passed_over(tmp_path: Path) -> None:
    fits.PrimaryHDU(SIXTEEN).writeto(tmp_path / "whole.fits")
    (tmp_path / "cut.fits").write_bytes((tmp_path / "whole.fits").read_bytes()[:5000])
    pictures, _ = played(replay(tmp_path))
    assert len(pictures) == 1 and pictures[0].dropped_before == 1


def test_paths_that_cannot_be_played_say_why(tmp_path: Path) -> None:
    assert "There is no" in refusal(replay(tmp_path / "nothing"))
    assert "holds no images" in refusal(replay(tmp_path))
    (tmp_path / "a.jpg").write_bytes(jpeg()[:1000])
    message = refusal(replay(tmp_path))
    assert "None of the 1 images" in message and "a.jpg" in message and "cut off" in message
    assert "is not a video" in refusal(replay(tmp_path / "a.jpg").__class__({"path": __file__, "rate_fps": None, "loop": True}, Station()))


def test_images_deleted_while_they_are_shown_end_in_a_lost_camera(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    camera = replay(tmp_path, loop=True)
    camera.open()
    camera.expose(Stop())
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(CameraLost, match="can be read any more"):
        camera.expose(Stop())
    camera.close()


def test_a_film_plays_whole_and_says_that_it_ended(tmp_path: Path) -> None:
    write_video(tmp_path / "film.mp4", frames=30, options={"bf": "0"})
    packets, end = played(replay(tmp_path / "film.mp4", rate_fps=100.0))
    assert "end of the recording" in end
    assert [packet.seq for packet in packets] == sorted(packet.seq for packet in packets)
    decoder = Decoder("h264")
    shown = [read_barcode(frame.data) for packet in packets if (frame := decoder.decode(packet))]
    assert shown == list(range(30))


@pytest.mark.parametrize(("name", "codec"), [("film.mp4", "libx264"), ("film.mkv", "libx264"), ("film.avi", "mjpeg")])
def test_a_film_cut_short_plays_what_there_is(tmp_path: Path, name: str, codec: str) -> None:
    write_video(tmp_path / name, codec, frames=40)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) * 6 // 10])
    packets, end = played(replay(tmp_path / name, rate_fps=100.0))
    assert 10 < len(packets) < 40
    assert all(isinstance(packet, Packet) for packet in packets)
    assert "end of the recording" in end
    again, _ = played(replay(tmp_path / name, rate_fps=200.0, loop=True), most=60)
    assert len(again) == 60


def test_a_film_without_its_index_says_so(tmp_path: Path) -> None:
    write_video(tmp_path / "film.mov", frames=40)
    data = (tmp_path / "film.mov").read_bytes()
    (tmp_path / "film.mov").write_bytes(data[: len(data) // 2])
    assert "cut off before its index" in refusal(replay(tmp_path / "film.mov"))


def test_the_pace_of_a_film_is_its_own_or_the_given_one(tmp_path: Path) -> None:
    write_video(tmp_path / "film.mkv", frames=25, fps=10, options={"bf": "0"})
    for rate_fps, step_s in ((None, 0.1), (20.0, 0.05)):
        packets, _ = played(replay(tmp_path / "film.mkv", rate_fps=rate_fps), most=12)
        took_s = (packets[-1].monotonic_ns - packets[1].monotonic_ns) / 1e9
        assert took_s >= 9.5 * step_s, "it plays too fast"
