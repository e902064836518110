"""The `video` driver against cameras that misbehave, and what exactly it hands on."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import simplejpeg

from cupola.core.errors import CameraLost, CameraNotFound, CameraUnresponsive, CaptureCancelled
from cupola.core.frame import Packet, Stop
from cupola.drivers import mjpeg
from cupola.drivers.video import Video
from tests.drivers.sources import MULTIPART, VIDEO, ScriptedServer, jpeg, mjpeg_camera, part, rtsp_camera, sends, taken, video
from tests.support.mjpeg_source import read_barcode


def endless(*pieces: bytes) -> Any:
    """A script that sends these again and again."""

    def script(connection: socket.socket, request: bytes) -> None:
        while True:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.005)

    return script


def after_header(script: Any) -> Any:
    def whole(connection: socket.socket, request: bytes) -> None:
        connection.sendall(MULTIPART)
        script(connection, request)

    return whole


def refusal(camera: Video) -> str:
    try:
        with pytest.raises(CameraNotFound) as caught:
            camera.open()
        return str(caught.value)
    finally:
        camera.close()


# --- what is handed on


@pytest.mark.parametrize("options", [[], ["--no-length"]])
def test_mjpeg_is_the_cameras_byte_for_byte_and_complete(options: list[str]) -> None:
    with mjpeg_camera(*options) as said:
        packets = taken(video(said["url"]), 12)
        numbers = [read_barcode(simplejpeg.decode_jpeg(packet.data)) for packet in packets]
        first = numbers[0]
        assert first is not None
        assert numbers == [(first + k) % 100 for k in range(12)]
        for number, packet in zip(numbers, packets, strict=True):
            with urllib.request.urlopen(said["url"].replace("stream", f"frame/{number}.jpg")) as answer:
                assert packet.data == answer.read()
        assert all(packet.dropped_before == 0 for packet in packets)


def test_mjpeg_needs_no_ffmpeg() -> None:
    with ScriptedServer(after_header(endless(part(jpeg())))) as server:
        program = (
            "import sys; from cupola.core.frame import Station, Stop; from cupola.drivers.video import Video\n"
            f"camera = Video({{**{VIDEO!r}, 'source': {server.url!r}}}, Station())\n"
            "camera.open(); assert camera.expose(Stop()).codec == 'jpeg'; camera.close()\n"
            "print([name for name in ('av', 'cv2', 'pydantic', 'loguru', 'simplejpeg') if name in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


def test_a_picture_without_length_does_not_wait_for_the_next_boundary() -> None:
    script = sends(MULTIPART, b"--cut\r\nContent-Type: image/jpeg\r\n\r\n", jpeg(7))
    with ScriptedServer(script) as server:
        camera = video(server.url, timeout_s=5)
        info = camera.open()
        camera.close()
    assert (info.width, info.height) == (320, 240)


def test_a_thumbnail_in_the_header_does_not_end_the_picture() -> None:
    picture, thumbnail = jpeg(3), jpeg(1, 80, 60)
    with_thumbnail = picture[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + picture[2:]
    with ScriptedServer(after_header(endless(part(with_thumbnail, length=None)))) as server:
        assert taken(video(server.url), 2)[1].data == with_thumbnail


@pytest.mark.parametrize(
    ("header", "boundary"),
    [(b"cut", b"--cut"), (b"--cut", b"--cut"), (b"--cut", b"----cut"), (b'"cut"', b"--cut"), (b"other", b"--other; x"), (b"cut", b"--cut  ")],
)
@pytest.mark.parametrize("length", [-1, None])
@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
def test_boundaries_are_understood_as_cameras_write_them(header: bytes, boundary: bytes, length: int | None, line_end: bytes) -> None:
    opening = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=" + header + b"\r\n\r\n"
    body = part(jpeg(), length=length).replace(b"--cut", boundary, 1).replace(b"\r\n", line_end, 4)

    def script(connection: socket.socket, request: bytes) -> None:
        connection.sendall(opening)
        endless(body)(connection, request)

    with ScriptedServer(script) as server:
        packets = taken(video(server.url), 3)
    assert [packet.data for packet in packets] == [jpeg()] * 3


def test_chunked_transfer_and_parts_of_another_kind_are_no_problem() -> None:
    def script(connection: socket.socket, request: bytes) -> None:
        connection.sendall(MULTIPART.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"))
        stream = (part(b'{"motion": 1}', kind=b"application/json") + part(jpeg())) * 40
        with suppress(OSError):  # until whoever reads has had enough
            while True:
                for at in range(0, len(stream), 1000):
                    piece = stream[at : at + 1000]
                    connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))

    with ScriptedServer(script) as server:
        assert [packet.data for packet in taken(video(server.url), 3)] == [jpeg()] * 3


@pytest.mark.parametrize("length", [-1, None])
def test_truncated_pictures_are_dropped_and_counted(length: int | None) -> None:
    whole, cut = part(jpeg(1), length=length), part(jpeg(2)[:2000], length=length)
    with ScriptedServer(after_header(endless(whole, cut, cut))) as server:
        packets = taken(video(server.url), 5)
    assert {packet.data for packet in packets} == {jpeg(1)}
    assert [packet.dropped_before for packet in packets[1:]] == [2] * 4


def test_a_length_that_lies_costs_a_picture_not_the_stream() -> None:
    good, lying = part(jpeg(1)), part(jpeg(2), length=500)
    with ScriptedServer(after_header(endless(good, lying))) as server:
        packets = taken(video(server.url), 4)
    assert {packet.data for packet in packets} == {jpeg(1)}


def test_nothing_but_broken_pictures_is_a_lost_camera() -> None:
    def script(connection: socket.socket, request: bytes) -> None:
        connection.sendall(MULTIPART + part(jpeg()))
        endless(part(jpeg()[:3000]))(connection, request)

    with ScriptedServer(script) as server, pytest.raises(CameraLost, match="50 broken pictures in a row"):
        taken(video(server.url), 2)


def test_a_huge_part_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(sends(MULTIPART, part(jpeg(), length=1 << 40))) as server:
        assert "bytes" in refusal(video(server.url))
    monkeypatch.setattr(mjpeg, "MAX_PART_BYTES", 1 << 20)
    with ScriptedServer(sends(MULTIPART, b"--cut\r\n\r\n\xff\xd8", b"\xff\xc0" + bytes(2 << 20))) as server:
        assert "without end" in refusal(video(server.url))


# --- cameras that are not there, and what is said about it


def test_an_address_where_nothing_listens_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for scheme in ("http", "rtsp"):
        message = refusal(video(f"{scheme}://viewer:secret@127.0.0.1:{port}/stream"))
        assert "refuses the connection" in message
        assert "secret" not in message and "viewer:***@127.0.0.1" in message


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_host_nobody_knows_is_named(scheme: str) -> None:
    assert "no host is called 'camera.invalid'" in refusal(video(f"{scheme}://camera.invalid/stream"))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n", "wants a login"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "503"),
        (b"HTTP/1.1 302 Found\r\nLocation: /stream\r\nContent-Length: 0\r\n\r\n", "redirects again and again"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi", "a web page, not a stream"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 2\r\n\r\nhi", "one picture, not a stream"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 2\r\n\r\nhi", "does not answer with video"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "closed the connection without an answer"),
    ],
)
def test_an_answer_that_is_no_video_is_told(answer: bytes, said: str) -> None:
    with ScriptedServer(sends(answer, then_wait=False)) as server:
        assert said in refusal(video(server.url))


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_server_that_stays_silent_is_given_up_after_the_timeout(scheme: str) -> None:
    with ScriptedServer(sends()) as server:
        started = time.monotonic()
        message = refusal(video(server.url.replace("http", scheme), timeout_s=1.0))
        assert "1 s" in message
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_opening_is_given_up_at_once_when_interrupted(scheme: str) -> None:
    with ScriptedServer(sends()) as server:
        camera = video(server.url.replace("http", scheme), timeout_s=30.0)
        outcome: list[BaseException] = []

        def open_it() -> None:
            try:
                camera.open()
            except CaptureCancelled as cancelled:
                outcome.append(cancelled)

        thread = threading.Thread(target=open_it)
        thread.start()
        thread.join(0.5)
        started = time.monotonic()
        camera.interrupt()
        thread.join(10)
        assert outcome
        assert time.monotonic() - started < 1
        assert not [one for one in threading.enumerate() if one.name.startswith("feed ")]


def test_a_login_is_sent_as_the_camera_asks_for_it() -> None:
    seen: list[bytes] = []

    def script(connection: socket.socket, request: bytes) -> None:
        authorization = [line for line in request.split(b"\r\n") if line.startswith(b"Authorization: ")]
        if not authorization:
            challenge = b'Digest realm="cam", nonce="abc", qop="auth", opaque="xyz"' if b"digest" in request else b'Basic realm="cam"'
            connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: " + challenge + b"\r\n\r\n")
            return
        seen.append(authorization[0])
        connection.sendall(MULTIPART)
        endless(part(jpeg()))(connection, request)

    with ScriptedServer(script) as server:
        for path in ("basic", "digest"):
            taken(video(f"http://view%40er:pass@127.0.0.1:{server.port}/{path}"), 1)
    assert seen[0] == b"Authorization: Basic dmlld0BlcjpwYXNz"
    assert b'username="view@er", realm="cam", nonce="abc", uri="/digest"' in seen[1] and b"qop=auth" in seen[1] and b'opaque="xyz"' in seen[1]


def test_a_redirect_is_followed_and_the_password_stays_with_its_host() -> None:
    requests: list[bytes] = []

    def stream(connection: socket.socket, request: bytes) -> None:
        requests.append(request)
        connection.sendall(MULTIPART)
        endless(part(jpeg()))(connection, request)

    with ScriptedServer(stream) as camera_server:
        target = camera_server.url.replace("127.0.0.1", "localhost").encode()
        with ScriptedServer(sends(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + target + b"\r\n\r\n", then_wait=False)) as server:
            assert len(taken(video(f"http://a:b@127.0.0.1:{server.port}/"), 1)) == 1
    assert b"Authorization" not in requests[0]


def test_rtsp_errors_tell_what_to_check() -> None:
    with rtsp_camera("--user", "viewer", "--password", "secret") as said:
        url = said["/cam"]
        assert "Write it as rtsp://user:password@host" in refusal(video(url))
        assert "Check user and password" in refusal(video(url.replace("://", "://viewer:wrong@")))
        packets = taken(video(url.replace("://", "://viewer:secret@")), 2)
        assert packets[0].codec == "h264"
    with rtsp_camera() as said:
        assert "404" in refusal(video(said["/cam"].replace("/cam", "/nothing")))


def test_devices_and_files_that_are_not_there_say_so(tmp_path: Path) -> None:
    assert "plugged in" in refusal(video("/dev/video97"))
    assert "Check the path" in refusal(video(tmp_path / "film.mp4"))
    (tmp_path / "letter.mp4").write_text("Dear Sir or Madam " * 100)
    assert "is not a video" in refusal(video(tmp_path / "letter.mp4"))
    assert "delivers no video" in refusal(video("/dev/null"))


# --- cameras that go away


def test_a_camera_that_dies_mid_picture_is_lost() -> None:
    script = sends(MULTIPART, part(jpeg()), part(jpeg())[:3000], then_wait=False)
    with ScriptedServer(script) as server, pytest.raises(CameraLost, match="middle of a picture"):
        taken(video(server.url), 5)


def test_a_camera_that_falls_silent_is_unresponsive_after_the_timeout() -> None:
    with ScriptedServer(sends(MULTIPART, part(jpeg()), part(jpeg())[:3000])) as server, pytest.raises(CameraUnresponsive, match="1 s"):
        taken(video(server.url, timeout_s=1.0), 5)


def test_a_killed_rtsp_camera_is_lost_and_found_again() -> None:
    with rtsp_camera() as said:
        camera = video(said["/cam"], timeout_s=5.0)
        camera.open()
        stream = camera.stream(Stop())
        first = next(stream)
        assert isinstance(first, Packet)
        assert first.keyframe
    with pytest.raises((CameraLost, CameraUnresponsive)):
        for _ in stream:
            pass
    camera.close()


@pytest.mark.parametrize("first", ["/cam", "/mjpeg"])
def test_closing_one_source_leaves_the_other_connections_to_its_camera_alone(first: str) -> None:
    """The live view goes on while the stream for stills of the same camera is opened again, and the other way round."""
    with rtsp_camera() as said:
        stays, ends = video(said[first]), video(said["/mjpeg" if first == "/cam" else "/cam"])
        stays.open()
        with contextlib.closing(stays.stream(Stop())) as stream:
            next(stream)
            for _ in range(2):
                ends.open()
                ends.close()
                assert len(list(islice(stream, 40))) == 40  # more than were on their way
        later = video(said[first])
        later.open()  # opened after it: what is closed first is not the newest
        stays.close()
        with contextlib.closing(later.stream(Stop())) as stream:
            assert len(list(islice(stream, 40))) == 40
        later.close()
        assert not [one for one in threading.enumerate() if one.name.startswith("feed ")]


def test_a_consumer_that_sleeps_loses_pictures_counted_and_sees_new_ones() -> None:
    with mjpeg_camera("--fps", "250", "--frames", "2000") as said:
        camera = video(said["url"])
        camera.open()
        try:
            with contextlib.closing(camera.stream(Stop())) as stream:
                first = read_barcode(simplejpeg.decode_jpeg(next(stream).data))
                time.sleep(2)  # the camera goes on meanwhile: 500 pictures, of which 250 are kept
                second = next(stream)
                number = read_barcode(simplejpeg.decode_jpeg(second.data))
        finally:
            camera.close()
    assert first is not None and number is not None
    assert second.dropped_before > 10
    assert (number - first) % 2000 == second.dropped_before + 1
