"""The video by itself: what phones play, closed fragments that are the same whenever they are made, one file that plays while it loads."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import av
import numpy as np
import pytest
from tests.darkroom.nights import frames, jpeg, sky
from tests.support import ext4

from cupola.core.errors import StorageFull
from cupola.darkroom.growth import EVERY, LeftOut, Shot, read_picture
from cupola.darkroom.timelapse import FRAME_BLOCKS, SECOND_BLOCKS, SIDE_BLOCKS, Settings, Timelapse, video_size

AT = datetime(2026, 3, 14, 18, 0, tzinfo=UTC)
PLAIN = Settings(True, 25, None, 25)


def _video(folder: Path, count: int, settings: Settings = PLAIN, size: tuple[int, int] = (160, 240), begin: int = 0) -> Timelapse:
    folder.mkdir(exist_ok=True)
    movie = Timelapse(settings, folder)
    for number in range(begin, begin + count):
        path = folder / f"{number}.jpg"
        path.write_bytes(jpeg(sky(number, size)))
        movie.add(read_picture(path), Shot(number + 1, path, AT, 1.0))
        if (number + 1) % EVERY == 0:
            movie.state()
    return movie


@pytest.mark.parametrize(
    ("width", "height", "wanted", "fps", "size"),
    [
        (3096, 2080, None, 25, (3096, 2080)),
        (4144, 2822, None, 25, (3171 & ~1, 2160)),
        (6000, 4000, None, 25, (3240, 2160)),
        (6000, 4000, 6000, 25, (6000, 4000)),
        (6000, 4000, 1280, 25, (1280, 852)),
        (640, 480, 1280, 25, (640, 480)),
        (641, 481, None, 25, (640, 480)),
    ],
)
def test_the_video_has_at_most_2160_lines_unless_asked(width: int, height: int, wanted: int | None, fps: int, size: tuple[int, int]) -> None:
    assert video_size(width, height, wanted, fps) == size


@pytest.mark.parametrize("fps", [1, 25, 60])
@pytest.mark.parametrize(("width", "height"), [(12000, 2000), (1000, 9000), (9000, 9000), (4096, 2160), (20000, 300)])
def test_what_is_made_unasked_is_within_level_5_2(width: int, height: int, fps: int) -> None:
    found = video_size(width, height, None, fps)
    across, down = -(-found[0] // 16), -(-found[1] // 16)
    assert across * down <= min(FRAME_BLOCKS, SECOND_BLOCKS // fps)
    assert max(across, down) <= SIDE_BLOCKS + 1
    assert found[0] / found[1] == pytest.approx(width / height, rel=0.02)


def test_the_file_is_one_phones_play_and_browsers_begin_at_once(tmp_path: Path) -> None:
    target = tmp_path / "out" / "timelapse.mp4"
    written = _video(tmp_path, 30, Settings(True, 30, None, 25), (482, 642)).write(target)
    content = target.read_bytes()
    assert written.bytes == len(content)
    assert 0 < content.index(b"moov") < content.index(b"mdat")
    with av.open(str(target)) as movie:
        stream = movie.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt, context.width, context.height) == ("h264", "yuv420p", 642, 482)
        assert stream.average_rate == 30 and stream.frames == 30
        assert context.extradata is not None and context.extradata[3] <= 52  # AVCLevelIndication (ISO/IEC 14496-15, 5.3.3.1)
        packets = [packet for packet in movie.demux(stream) if packet.dts is not None]
    assert [packet.is_keyframe for packet in packets] == [number % EVERY == 0 for number in range(30)]
    assert [packet.pts for packet in packets] == [packet.dts for packet in packets], "frames are reordered"
    assert len(frames(target)) == 30
    assert list(target.parent.iterdir()) == [target]


def test_the_level_of_a_large_frame_is_one_phones_play(tmp_path: Path) -> None:
    target = tmp_path / "timelapse.mp4"
    _video(tmp_path / "large", 2, size=(2822, 4144)).write(target)
    with av.open(str(target)) as movie:
        context = movie.streams.video[0].codec_context
        assert context.height == 2160
        assert context.extradata is not None and context.extradata[3] <= 52


def test_a_fragment_is_the_same_bytes_whenever_it_is_made(tmp_path: Path) -> None:
    straight, later = _video(tmp_path / "a", 2 * EVERY), _video(tmp_path / "b", EVERY, begin=EVERY)
    facts, _ = straight.state()
    assert [len(fragment["images"]) for fragment in facts["fragments"]] == [EVERY, EVERY]
    assert (tmp_path / "a" / "000001.mp4").read_bytes() == (tmp_path / "b" / "000000.mp4").read_bytes()
    assert later.frames == EVERY


def test_each_fragment_on_disk_is_a_video_of_its_own(tmp_path: Path) -> None:
    _video(tmp_path, 2 * EVERY)
    for name in ("000000.mp4", "000001.mp4"):
        assert len(frames(tmp_path / name)) == EVERY


def test_where_much_moves_the_next_fragment_is_coarser_and_every_frame_is_still_right(tmp_path: Path) -> None:
    rng, movie, pictures = np.random.default_rng(3), Timelapse(PLAIN, tmp_path), list[np.ndarray]()
    for number in range(2 * EVERY + 2):
        pictures.append(np.kron(rng.integers(0, 256, (20, 30)), np.ones((8, 8))).astype(np.uint8)[:, :, np.newaxis].repeat(3, axis=2))
        movie.add(pictures[-1], Shot(number + 1, tmp_path / f"{number}.jpg", AT, 1.0))
        facts, _ = movie.state()
    first, second = (fragment["quantizer"] for fragment in facts["fragments"])
    assert (first, second > first) == (25, True)
    movie.write(tmp_path / "out.mp4")
    away = [np.abs(frame.astype(float) - picture[..., 0]).mean() for frame, picture in zip(frames(tmp_path / "out.mp4"), pictures, strict=True)]
    assert max(away) < 6, "frames of a fragment do not fit to the file's parameters"


def test_colours_and_brightness_are_those_of_the_images(tmp_path: Path) -> None:
    movie = Timelapse(Settings(True, 25, None, 15), tmp_path)
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:, :32], picture[:, 32:64], picture[:, 64:] = (200, 30, 30), (255, 255, 255), (20, 60, 180)
    for number in range(3):
        movie.add(picture, Shot(number + 1, Path("x.jpg"), AT, 1.0))
    movie.write(tmp_path / "t.mp4")
    with av.open(str(tmp_path / "t.mp4")) as opened:
        shown = [frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)]
    assert len(shown) == 3
    for column in (16, 48, 80):
        assert np.abs(shown[-1][32, column].astype(int) - picture[32, column]).max() <= 8


def test_a_fragment_whose_images_are_gone_too_costs_only_its_own_frames(tmp_path: Path) -> None:
    movie = _video(tmp_path, 3 * EVERY)
    (tmp_path / "000001.mp4").write_bytes(b"torn")
    for number in range(EVERY, 2 * EVERY):
        (tmp_path / f"{number}.jpg").unlink()
    movie.write(tmp_path / "out.mp4")
    assert len(frames(tmp_path / "out.mp4")) == 2 * EVERY


def test_an_image_of_another_size_is_left_out(tmp_path: Path) -> None:
    movie = _video(tmp_path, 1)
    with pytest.raises(LeftOut, match="120 x 100 pixels, not 240 x 160"):
        movie.add(sky(2, (100, 120)), Shot(2, Path("x.jpg"), AT, 1.0))


def test_without_an_encoder_every_image_is_left_out_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cupola.darkroom.timelapse.CODEC", "libnothing")
    with pytest.raises(LeftOut, match="no libnothing on this machine"):
        _video(tmp_path, 1)


@pytest.mark.skipif(ext4.missing_feature() is not None, reason=ext4.missing_feature() or "")
@pytest.mark.parametrize("left", [0, 10_000, 20_000])
def test_a_video_that_the_disk_has_no_room_for_is_an_error_and_no_file(tmp_path: Path, left: int) -> None:
    movie = _video(tmp_path / "frames", 2 * EVERY)
    with ext4.Disk(tmp_path, 8).mounted() as disk:
        (disk / "left").write_bytes(bytes(left))
        with (disk / "filler").open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        (disk / "left").unlink()
        with pytest.raises(StorageFull):
            movie.write(disk / "timelapse.mp4")
        assert sorted(path.name for path in disk.iterdir()) == ["filler", "lost+found"]
        (disk / "filler").unlink()
        movie.write(disk / "timelapse.mp4")
        assert len(frames(disk / "timelapse.mp4")) == 2 * EVERY
