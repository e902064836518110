"""The driver contract, run against every kind of source the `video` and `replay` drivers know."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cupola.core.frame import Camera, Station
from cupola.drivers.replay import Replay
from cupola.drivers.video import Video
from cupola.testing import DriverContract
from tests.drivers.sources import VIDEO, jpeg, mjpeg_camera, rtsp_camera, write_video


@pytest.mark.tried("video", "HTTP MJPEG", "stand-in")
class TestMjpegOverHttp(DriverContract):
    url = ""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def server(cls) -> Iterator[None]:
        with mjpeg_camera("--frames", "25") as said:
            cls.url = said["url"]
            yield

    def make_camera(self) -> Camera:
        return Video({**VIDEO, "source": self.url}, Station())


@pytest.mark.variant
class TestMjpegWithoutLengths(TestMjpegOverHttp):
    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def server(cls) -> Iterator[None]:
        with mjpeg_camera("--frames", "25", "--no-length") as said:
            cls.url = said["url"]
            yield


@pytest.mark.tried("video", "RTSP H.264", "simulator")
class TestRtsp(DriverContract):
    urls: dict[str, str]
    path = "/cam"
    transport = "tcp"
    open_close_cycles = 5

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def server(cls) -> Iterator[None]:
        with rtsp_camera() as said:
            cls.urls = said
            yield

    def make_camera(self) -> Camera:
        return Video({**VIDEO, "source": self.urls[self.path], "transport": self.transport}, Station())


@pytest.mark.variant
class TestRtspOverUdp(TestRtsp):
    transport = "udp"
    open_close_cycles = 2


@pytest.mark.variant
@pytest.mark.tried("video", "RTSP MJPEG", "simulator")
class TestRtspMjpeg(TestRtsp):
    path = "/mjpeg"
    open_close_cycles = 2


class TestStillsFromASecondSource(TestRtsp):
    """Live from the small MJPEG stream, stills from the H.264 one."""

    open_close_cycles = 2

    def make_camera(self) -> Camera:
        return Video({**VIDEO, "source": self.urls["/mjpeg"], "record": self.urls["/cam"]}, Station())


class TestVideoFile(DriverContract):
    name, codec = "film.mp4", "libx264"
    open_close_cycles = 10
    path: Path

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def film(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.path = tmp_path_factory.mktemp("film") / cls.name
        write_video(cls.path, cls.codec)

    def make_camera(self) -> Camera:
        return Video({**VIDEO, "source": str(self.path)}, Station())


@pytest.mark.tried("replay", "", "simulator")
class TestReplayOfH264(TestVideoFile):
    def make_camera(self) -> Camera:
        return Replay({"path": str(self.path), "rate_fps": 50.0, "loop": True}, Station())


@pytest.mark.variant
class TestReplayOfH265(TestReplayOfH264):
    name, codec = "film.mkv", "libx265"


@pytest.mark.variant
class TestReplayOfMjpeg(TestReplayOfH264):
    name, codec = "film.avi", "mjpeg"


@pytest.mark.variant
class TestReplayOfAnotherCodec(TestReplayOfH264):
    """MPEG-4 part 2 is passed through by nobody: it is decoded to frames."""

    name, codec = "film.mkv", "mpeg4"


@pytest.mark.tried("replay", "", "simulator")
class TestReplayOfAFolder(DriverContract):
    folder: Path

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def images(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.folder = tmp_path_factory.mktemp("night")
        for number in range(4):
            (cls.folder / f"{number:03d}.jpg").write_bytes(jpeg(number))

    def make_camera(self) -> Camera:
        return Replay({"path": str(self.folder), "rate_fps": 20.0, "loop": True}, Station())
