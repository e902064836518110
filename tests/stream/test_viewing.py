"""Live frames as arrays: true, in order, counted, by JPEG and by H.264."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from tests.support.live_packets import KEY, h264, jpegs, packet, picture, publish, shows
from tests.support.redis_server import RedisServer
from tests.support.station import eventually

from cupola.core.errors import ConfigError
from cupola.stream import Frame, frames
from cupola.stream.format import Codec

PROJECT = Path(__file__).parents[2]


class Watching:
    """Somebody who takes frames in a thread, as fast as `slow_s` allows."""

    def __init__(self, redis: RedisServer, *, slow_s: float = 0.0, newest: bool = False) -> None:
        self.seen: list[Frame] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(redis.url, slow_s, newest), daemon=True)
        self._redis = redis

    def _run(self, url: str, slow_s: float, newest: bool) -> None:
        for frame in frames(url, station="roof", camera="sky", newest=newest):
            if frame.sequence == 10**6:
                return
            self.seen.append(frame)
            self._over.wait(slow_s)

    def __enter__(self) -> Watching:
        self._thread.start()
        client = self._redis.client()
        # it has looked where the stream ends, and waits behind that
        eventually(lambda: any(one["name"] == "cupola-frames" and one["cmd"].startswith("xread") for one in client.client_list()))
        return self

    def __exit__(self, *unused: object) -> None:
        self._over.set()
        deadline = time.monotonic() + 30
        while self._thread.is_alive() and time.monotonic() < deadline:
            publish(self._redis, [packet(10**6, simplejpeg.encode_jpeg(picture(1)), incarnation=99)])
            self._thread.join(0.2)
        assert not self._thread.is_alive()


@pytest.mark.parametrize("codec", ["jpeg", "h264"])
def test_every_frame_comes_with_its_pixels_time_and_number(redis: RedisServer, codec: Codec) -> None:
    publish(redis, jpegs(range(1, 3)))  # before anybody looked
    made = jpegs(range(3, 23)) if codec == "jpeg" else h264(20, 5)
    with Watching(redis) as watching:
        publish(redis, made)
        eventually(lambda: len(watching.seen) == len(made))
    assert [frame.sequence for frame in watching.seen] == [one.sequence for one in made]
    assert all(shows(frame.array, frame.sequence) and frame.array.shape == (48, 64, 3) and frame.array.dtype == np.uint8 for frame in watching.seen)
    assert [frame.time for frame in watching.seen] == [one.time for one in made]
    assert {(frame.missing, frame.incarnation, frame.generation) for frame in watching.seen} == {(0, 1, "1700000000.3")}


def test_what_the_station_dropped_and_what_redis_pushed_out_is_counted_exactly(redis: RedisServer) -> None:
    made = jpegs(range(1, 41))
    left_out = {5, 6, 20, 33, 34, 35}
    with Watching(redis) as watching:
        publish(redis, [one for one in made if one.sequence not in left_out])
        eventually(lambda: watching.seen and watching.seen[-1].sequence == 40)
    assert sum(frame.missing for frame in watching.seen) == len(left_out)
    assert len(watching.seen) + sum(frame.missing for frame in watching.seen) == 40
    assert {frame.sequence: frame.missing for frame in watching.seen if frame.missing} == {7: 2, 21: 1, 36: 3}


def test_h264_goes_on_at_the_next_keyframe_after_a_gap(redis: RedisServer) -> None:
    made = h264(20, 5)  # keyframes 1, 6, 11, 16
    with Watching(redis) as watching:
        publish(redis, [one for one in made if one.sequence not in (1, 8)])  # it begins without its keyframe
        eventually(lambda: watching.seen and watching.seen[-1].sequence == 20)
    assert [frame.sequence for frame in watching.seen] == [6, 7, *range(11, 21)]
    assert {frame.sequence: frame.missing for frame in watching.seen if frame.missing} == {11: 3}
    assert all(shows(frame.array, frame.sequence) for frame in watching.seen)


@pytest.mark.parametrize("codec", ["jpeg", "h264"])
def test_who_is_slow_and_wants_the_newest_gets_it(redis: RedisServer, codec: Codec) -> None:
    made = jpegs(range(1, 101)) if codec == "jpeg" else h264(100, 10)
    with Watching(redis, slow_s=0.3, newest=True) as watching:
        publish(redis, made)
        eventually(lambda: watching.seen and watching.seen[-1].sequence == 100)
    assert len(watching.seen) < 30
    assert all(shows(frame.array, frame.sequence) for frame in watching.seen)
    first = watching.seen[0].sequence
    assert len(watching.seen) + sum(frame.missing for frame in watching.seen) == 100 - first + 1


def test_damaged_packets_are_left_out_and_a_new_incarnation_counts_anew(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    made = jpegs(range(1, 6))
    with Watching(redis) as watching:
        client = redis.client()
        publish(redis, made[:2])
        publish(redis, [packet(3, made[2].data[:200])])
        client.xadd(KEY, {"sequence": "x"})
        publish(redis, made[3:])
        publish(redis, [packet(1, made[0].data, incarnation=2)])
        eventually(lambda: len(watching.seen) == 5)
    assert [(frame.incarnation, frame.sequence, frame.missing) for frame in watching.seen] == [(1, 1, 0), (1, 2, 0), (1, 4, 1), (1, 5, 0), (2, 1, 0)]
    assert "frame 3 is damaged" in caplog.text and "left out" in caplog.text


def test_a_redis_that_was_away_is_found_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer(tmp_path / "redis") as redis, Watching(redis) as watching:
        publish(redis, jpegs(range(1, 4)))
        eventually(lambda: len(watching.seen) == 3)
        redis.kill()
        eventually(lambda: "cannot be reached" in caplog.text)
        redis.start()
        publish(redis, jpegs(range(4, 7)))
        eventually(lambda: len(watching.seen) == 6)
        redis.client().delete(KEY)
        publish(redis, jpegs(range(7, 9)))
        eventually(lambda: len(watching.seen) == 8)
    assert [frame.missing for frame in watching.seen] == [0] * 8
    assert caplog.text.count("tried again until it works") <= 2


def test_it_needs_nothing_of_the_server() -> None:
    look = "import sys; from cupola.stream import frames; print(sorted({name.partition('.')[0] for name in sys.modules} & set(sys.argv[1:])))"
    heavy = ["pydantic", "fastapi", "loguru", "click", "sqlite3", "av", "numpy", "redis"]
    done = subprocess.run([sys.executable, "-c", look, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_url_or_name_that_is_none_is_said_at_once() -> None:
    with pytest.raises(ConfigError, match="rediss://"):
        next(frames("http://:secret@hub", station="roof", camera="sky"))
    with pytest.raises(ValueError, match="cannot be part of a key"):
        next(frames("redis://hub", station="roof:x", camera="sky"))


def test_the_example_marks_what_moves_and_keeps_every_tenth_frame(redis: RedisServer, tmp_path: Path) -> None:
    command = [sys.executable, str(PROJECT / "examples" / "moving.py"), redis.url, "roof", "sky", "--into", str(tmp_path), "--count", "20"]
    example = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert example.stdout is not None
        client = redis.client()
        eventually(lambda: any(one["name"] == "cupola-frames" for one in client.client_list()), 60)
        number = 0
        while example.poll() is None:
            number += 1
            assert number < 1000
            array = np.full((48, 64, 3), 60, np.uint8)
            array[:, (number * 3) % 64 : (number * 3) % 64 + 8] = 255  # a bar that wanders
            publish(redis, [packet(number, simplejpeg.encode_jpeg(array, quality=95))])
            time.sleep(0.02)
        with example.stdout:
            said = example.stdout.read().splitlines()
    finally:
        example.kill()
        example.wait(10)
    assert example.returncode == 0 and len(said) == 20
    assert any("0.0% moving" not in line for line in said) and all("missing before it" in line for line in said)
    kept = sorted(tmp_path.glob("*.jpg"))
    assert len(kept) == 2
    marked = simplejpeg.decode_jpeg(kept[-1].read_bytes())
    assert ((marked[:, :, 0] > 200) & (marked[:, :, 1] < 80)).any()
