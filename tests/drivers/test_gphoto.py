"""The gphoto driver beyond the contract: libgphoto2's virtual Nikon, with a fake of what that camera lacks."""

from __future__ import annotations

import gc
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from cupola.core.errors import CameraBusy, CameraNotFound, CaptureCancelled, ConfigError, CupolaError, ExposureFailed, LibraryMissing
from cupola.core.frame import Capability, Controls, Packet, Station, Stop
from cupola.drivers import gphoto_errors
from cupola.drivers.gphoto import Gphoto, discover
from cupola.drivers.gphoto_body import Body, CardFile, library
from tests.drivers.gphoto_sources import OPTIONS, Extras, Widget, is_loaded, night_jpeg, virtual_nikon, with_bulb

Make = Callable[..., Gphoto]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Make]:
    virtual_nikon(monkeypatch, tmp_path)
    made: list[Gphoto] = []

    def build(extras: Extras | None = None, **options: Any) -> Gphoto:
        if extras is not None:
            extras.install(monkeypatch)
        made.append(Gphoto({**OPTIONS, **options}, Station()))
        return made[-1]

    yield build
    for camera in made:
        camera.close()


# ── settings ───────────────────────────────────────────────────────────────


def test_a_shutter_speed_the_camera_lacks_becomes_the_nearest_and_is_told(make: Make) -> None:
    camera = make()
    limits = camera.open().controls["exposure_s"]
    assert limits.choices is not None and limits.maximum == 1.0
    assert camera.apply(Controls(exposure_s=0.07)).exposure_s == 0.05
    assert camera.apply(Controls(exposure_s=60)).exposure_s == 1.0
    assert camera.expose(Stop()).applied.exposure_s == 1.0


def test_what_is_not_asked_for_stays_as_it_is(make: Make) -> None:
    camera = make()
    camera.open()
    camera.apply(Controls(exposure_s=0.02, f_number=8))
    assert camera.apply(Controls(f_number=4)) == Controls(exposure_s=0.02, f_number=4.0)


def test_iso_is_the_gain_with_the_choices_of_the_camera(make: Make) -> None:
    camera = make(Extras({"iso": Widget("Auto", ("Auto", "100", "200", "400", "800", "1600"))}))
    gain = camera.open().controls["gain"]
    assert (gain.choices, gain.scale) == ((100, 200, 400, 800, 1600), "linear")
    assert camera.apply(Controls(gain=1500)).gain == 1600
    assert camera.expose(Stop()).applied.gain == 1600


def test_a_setting_the_camera_refuses_is_told_as_what_it_has(make: Make) -> None:
    camera = make(Extras({"iso": Widget("100", ("100", "200"))}, refusals={"set iso": (-2, "")}))
    camera.open()
    assert camera.apply(Controls(gain=200)).gain == 100


def test_an_image_format_the_camera_lacks_is_refused_with_its_choices(make: Make) -> None:
    camera = make(Extras({"imagequality": Widget("JPEG Fine", ("JPEG Basic", "JPEG Fine"))}), image_format="raw+jpeg")
    with pytest.raises(ConfigError, match=r"image_format: raw\+jpeg.*It offers: JPEG Basic, JPEG Fine"):
        camera.open()


def test_a_capture_target_is_set_and_one_without_choices_is_said(make: Make) -> None:
    make(capture_target="card").open()
    with pytest.raises(ConfigError, match=r"no choice over USB.*leave it out"):
        make(image_format="jpeg").open()


# ── exposures ──────────────────────────────────────────────────────────────


def test_a_longer_exposure_than_the_longest_speed_is_made_by_bulb(make: Make) -> None:
    moments: list[tuple[int, float]] = []
    widgets = with_bulb()
    widgets["shutterspeed"].choices = ("Bulb", "0.1000s")
    widgets["bulb"].on_set = lambda value: moments.append((value, time.monotonic()))
    camera = make(Extras(widgets))
    info = camera.open()
    assert Capability.BULB in info.capabilities and info.controls["exposure_s"].maximum == 3600
    assert camera.apply(Controls(exposure_s=0.7)).exposure_s == 0.7
    assert widgets["shutterspeed"].value == "Bulb"
    picture = camera.expose(Stop())
    (opened, began), (closed, ended) = moments
    assert (opened, closed) == (1, 0)
    assert 0.69 <= ended - began < 1.2
    assert (picture.ended_at - picture.opened_at).total_seconds() == pytest.approx(0.7)
    camera.apply(Controls(exposure_s=0.1))
    assert widgets["shutterspeed"].value == "0.1000s"


def test_without_bulb_the_longest_speed_is_the_limit(make: Make) -> None:
    info = make(Extras(with_bulb()), bulb="never").open()
    assert Capability.BULB not in info.capabilities
    assert info.controls["exposure_s"].maximum == 30


def test_a_bulb_exposure_is_closed_within_one_second_of_a_stop(make: Make) -> None:
    widgets = with_bulb()
    extras = Extras(widgets)
    camera = make(extras)
    camera.open()
    camera.apply(Controls(exposure_s=300))
    assert _cancelled_after(camera, lambda: widgets["bulb"].value == 1) < 1.0
    assert camera.apply(Controls(exposure_s=60)).exposure_s == 60  # comes after the shutter was closed
    assert widgets["bulb"].value == 0
    assert len(extras.deleted) == 1, "the picture of the cancelled exposure is still on the card"


def test_a_cancelled_exposure_returns_at_once_and_its_late_file_is_not_the_next_picture(make: Make) -> None:
    extras = Extras(late_files_s=1.5)
    camera = make(extras)
    camera.open()
    camera.apply(Controls(exposure_s=0.0001))
    assert _cancelled_after(camera, lambda: "trigger_capture" in extras.calls) < 0.5
    extras.late_files_s = 0.0
    asked_ns = time.monotonic_ns()
    picture = camera.expose(Stop())
    assert picture.monotonic_ns - asked_ns > 0.5e9, "it did not wait for the exposure under way"
    assert extras.calls.count("trigger_capture") == 2
    camera.stored(picture.seq)
    camera.close()
    assert len(extras.deleted) == 2 and len(set(extras.deleted)) == 2


def test_a_camera_closed_in_the_middle_of_an_exposure_opens_again_when_that_has_ended(make: Make) -> None:
    extras = Extras(late_files_s=5.5)  # it is closed after 4 s of that
    camera = make(extras)
    camera.open()
    _cancelled_after(camera, lambda: "trigger_capture" in extras.calls)
    camera.close()
    extras.late_files_s = 0.0
    assert "exit" not in extras.calls
    camera.open()
    assert extras.calls.index("exit") < len(extras.calls) - 1 - extras.calls[::-1].index("init"), "it was opened twice"
    assert camera.expose(Stop()).width == 640


def _cancelled_after(camera: Gphoto, begun: Callable[[], bool]) -> float:
    """Seconds from a stop, set once the shutter is open, to the return of `expose`."""
    stop, outcome = Stop(), list[object]()

    def take() -> None:
        try:
            outcome.append(camera.expose(stop))
        except CaptureCancelled as cancelled:
            outcome.append(cancelled)

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    deadline = time.monotonic() + 5
    while not begun() and time.monotonic() < deadline:
        threading.Event().wait(0.005)
    asked = time.monotonic()
    stop.set()
    thread.join(10)
    assert len(outcome) == 1 and isinstance(outcome[0], CaptureCancelled)
    return time.monotonic() - asked


def test_a_raw_file_comes_with_its_jpeg(make: Make) -> None:
    extras = Extras({"imagequality": Widget("JPEG Fine", ("JPEG Fine", "NEF (Raw)", "NEF+Basic", "NEF+Fine"))}, raw=b"II*\0" + bytes(5000))
    camera = make(extras, image_format="raw+jpeg")
    camera.open()
    assert extras.widgets["imagequality"].value == "NEF+Fine"
    picture = camera.expose(Stop())
    assert picture.native is not None and picture.native.paired
    assert (picture.native.suffix, picture.native.data) == (".nef", extras.raw)
    assert (picture.width, picture.height) == (640, 480)


def test_a_raw_file_alone_shows_the_picture_inside_of_it(make: Make) -> None:
    small, large = night_jpeg(160, 120), night_jpeg(800, 600)
    extras = Extras(raw=b"II*\0" + bytes(100) + small + b"\xff\xd8\xff\xc3junk" + large + bytes(3000), raw_only=True)
    camera = make(extras)
    camera.open()
    picture = camera.expose(Stop())
    assert picture.native is not None and not picture.native.paired
    assert picture.data == large


def test_a_picture_is_deleted_from_the_card_when_it_is_stored_and_not_before(make: Make) -> None:
    extras = Extras({"imagequality": Widget("NEF+Fine", ("NEF+Fine",))}, raw=b"II*\0" + bytes(5000))
    camera = make(extras, capture_target="card")
    camera.open()
    first, second = camera.expose(Stop()), camera.expose(Stop())
    camera.apply(Controls(exposure_s=0.02))
    assert not extras.deleted
    camera.stored(second.seq)
    camera.apply(Controls(exposure_s=0.05))  # comes after the deletion
    assert extras.deleted == ["GPH_0101.JPG", "GPH_0101.NEF"]
    camera.stored(first.seq)
    camera.stored(first.seq)
    camera.close()
    assert extras.deleted[2:] == ["GPH_0099.JPG", "GPH_0099.NEF"]


def test_what_was_not_stored_when_the_camera_was_closed_stays_on_the_card_for_good(make: Make) -> None:
    extras = Extras()
    camera = make(extras)
    camera.open()
    before = camera.expose(Stop())
    camera.close()
    camera.open()
    camera.stored(before.seq)
    camera.expose(Stop())
    camera.close()
    assert not extras.deleted


def test_a_stored_picture_is_deleted_after_a_failed_exposure_when_the_camera_is_open_anew(make: Make) -> None:
    extras = Extras()
    camera = make(extras)
    camera.open()
    picture = camera.expose(Stop())
    extras.refusals["trigger_capture"] = (-3, "")
    with pytest.raises(ExposureFailed):
        camera.expose(Stop())
    camera.stored(picture.seq)
    extras.refusals.clear()
    camera.expose(Stop())
    assert len(extras.deleted) == 1
    assert "exit" in extras.calls


def test_a_picture_that_cannot_be_deleted_costs_no_exposure(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    camera = make(Extras(refusals={"file_delete": (-1, "PTP Object Write Protected")}))
    camera.open()
    camera.stored(camera.expose(Stop()).seq)
    assert camera.expose(Stop()).width == 640
    assert "GPH_0099.JPG is stored, and stays on the card as well" in caplog.text
    assert "write-protected" in caplog.text


def test_a_picture_in_the_cameras_memory_is_deleted_at_once(make: Make) -> None:
    extras = Extras()
    camera = make(extras, capture_target="ram")
    camera.open()
    camera.expose(Stop())
    assert len(extras.deleted) == 1


def test_files_stay_on_the_card_where_that_is_wished(make: Make) -> None:
    extras = Extras()
    camera = make(extras, keep_on_card=True)
    camera.open()
    camera.stored(camera.expose(Stop()).seq)
    camera.close()
    assert not extras.deleted


def test_the_live_view_lowers_the_mirror_again(make: Make) -> None:
    viewfinder = Widget(1)
    extras = Extras({"viewfinder": viewfinder}, preview=night_jpeg(320, 240))
    camera = make(extras)
    assert Capability.VIDEO in camera.open().capabilities
    stream = camera.stream(Stop())
    pictures = [picture for picture in islice(stream, 3) if isinstance(picture, Packet)]
    stream.close()
    assert [(picture.width, picture.height) for picture in pictures] == [(320, 240)] * 3
    assert viewfinder.value == 0
    assert camera.expose(Stop()).width == 640


# ── what goes wrong ────────────────────────────────────────────────────────

FAILURES = [
    (-1, "PTP Out of Focus", "Set the lens to MF"),
    (-1, "Canon EOS Capture failed to release: Perhaps no focus?", "Set the lens to MF"),
    (-1, "PTP Store Full", "memory card is full"),
    (-1, "Canon EOS Capture failed to release: Perhaps no more memory on card?", "memory card is full"),
    (-115, "", "memory card is full"),
    (-1, "Canon EOS Capture failed to release: Perhaps mirror up?", "mirror is up"),
    (-1, "PTP Battery Low", "Charge it"),
    (-3, "", "opened anew"),
]


@pytest.mark.parametrize(("code", "sentence", "advice"), FAILURES)
def test_a_failed_exposure_says_what_to_do_and_the_next_one_works(make: Make, code: int, sentence: str, advice: str) -> None:
    extras = Extras(refusals={"trigger_capture": (code, sentence)})
    camera = make(extras)
    camera.open()
    camera.apply(Controls(exposure_s=0.02))
    with pytest.raises(ExposureFailed, match=advice):
        camera.expose(Stop())
    extras.refusals.clear()
    assert camera.expose(Stop()).applied.exposure_s == 0.02


def test_an_exposure_that_silently_gives_no_file_is_reported_and_the_next_one_works(make: Make) -> None:
    """The virtual camera does so once in 27 exposures, and answers nothing but errors after it until it is opened anew."""
    camera = make()
    camera.open()
    camera.apply(Controls(exposure_s=0.0001))
    outcomes: list[str] = []
    for _ in range(30):
        try:
            outcomes.append("taken" if camera.expose(Stop()).data else "empty")
        except ExposureFailed as failure:
            outcomes.append(str(failure))
    failed = outcomes.pop(26)
    assert outcomes == 29 * ["taken"]
    assert "took no picture: it told of no file" in failed


@pytest.mark.usefixtures("make")
def test_an_error_does_not_hold_the_camera() -> None:
    body = Body(library(), "Nikon DSC D750", "usb:001,001")
    body.open()
    with pytest.raises(ExposureFailed) as caught:
        body.fetch(CardFile("/", "missing.jpg"))
    assert is_loaded()
    body.close()
    assert not is_loaded(), f"{caught.value!r} does"


@pytest.mark.parametrize("failing", ["init", "trigger_capture", "file_get"])
def test_nothing_of_a_camera_that_failed_is_held_once_it_is_closed(make: Make, failing: str) -> None:
    """Not even until a garbage collection: an error holds the frames it came through, and what they hold."""
    gc.disable()
    try:
        camera = make(Extras(refusals={failing: (-3, "")}))
        try:
            camera.open()
            camera.expose(Stop())
        except ExposureFailed:
            assert failing == "init" or is_loaded()
        camera.close()
        assert not is_loaded()
    finally:
        gc.enable()


def test_a_wrong_serial_is_refused_with_what_is_there(make: Make) -> None:
    with pytest.raises(CameraNotFound, match=r"serial 4711 .*there is: Nikon DSC D750 with 0\.1"):
        make(serial="4711").open()
    assert make(serial="0.1").open().serial == "0.1"


def test_a_port_without_a_camera_is_refused_with_those_that_have_one(make: Make) -> None:
    with pytest.raises(CameraNotFound, match="there are: Nikon DSC D750 at usb:001,001"):
        make(port="usb:009,009").open()
    assert make(port="usb:001,001").open().model == "Nikon DSC D750"


def test_a_camera_the_desktop_took_names_the_program_and_what_to_do(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gphoto_errors, "holders", lambda port: ["gvfs-gphoto2-volume-monitor"])
    with pytest.raises(CameraBusy, match=r"gvfs-gphoto2-volume-monitor took it.*systemctl --user mask"):
        make(Extras(refusals={"init": (-53, "Could not claim the USB device")})).open()


def test_programs_that_hold_a_camera_are_found_by_name_and_by_device(tmp_path: Path) -> None:
    for number, name in (("11", "/usr/libexec/gvfsd-gphoto2"), ("12", "/usr/bin/bash")):
        folder = tmp_path / number
        (folder / "fd").mkdir(parents=True)
        (folder / "cmdline").write_bytes(name.encode() + b"\0--flag\0")
    assert gphoto_errors.holders("usb:001,005", tmp_path) == ["gvfsd-gphoto2"]
    (tmp_path / "12" / "fd" / "7").symlink_to("/dev/bus/usb/001/005")
    assert gphoto_errors.holders("usb:001,005", tmp_path) == ["bash"]


def test_a_camera_that_another_one_of_the_configuration_has_is_not_called_another_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "12" / "fd").mkdir(parents=True)
    (tmp_path / "12" / "cmdline").write_bytes(b"/usr/bin/python3\0-X\0faulthandler\0-m\0cupola.camera.process\0--link=9\0")
    (tmp_path / "12" / "fd" / "7").symlink_to("/dev/bus/usb/001/005")
    monkeypatch.setattr(gphoto_errors, "holders", partial(gphoto_errors.holders, proc=tmp_path))
    error = gphoto_errors.explain("A Nikon D750", "open it", gphoto_errors.USB_CLAIM, [], "usb:001,005")
    assert "Another camera process of Cupola has it" in str(error)


def test_a_camera_that_went_away_is_lost_and_not_a_failed_exposure(make: Make) -> None:
    camera = make(Extras(refusals={"trigger_capture": (-7, "")}))
    camera.open()
    with pytest.raises(CupolaError) as caught:
        camera.expose(Stop())
    assert caught.value.kind == "camera_lost"


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gphoto2", None)
    with pytest.raises(LibraryMissing, match="pip install gphoto2"):
        Gphoto(OPTIONS, Station()).open()
    with pytest.raises(LibraryMissing):
        discover()


# ── at opening ─────────────────────────────────────────────────────────────


def test_opening_tells_what_the_owner_should_change(make: Make) -> None:
    widgets = {
        "batterylevel": Widget("12%"),
        "focusmode": Widget("AF-S"),
        "expprogram": Widget("P"),
        "longexpnr": Widget("On"),
        "shuttercounter": Widget("45210"),
    }
    info = make(Extras(widgets)).open()
    text = " ".join(info.notes)
    for part in ("12 %", "autofocus (AF-S)", "mode is P", "noise reduction"):
        assert part in text
    assert info.shutter_count == 45210


def test_a_camera_in_order_has_no_notes(make: Make) -> None:
    assert make(Extras({"focusmode": Widget("Manual"), "expprogram": Widget("M"), "longexpnr": Widget("Off")})).open().notes == ()


def test_the_clock_is_set_when_it_is_off_and_left_alone_otherwise(make: Make) -> None:
    clock = Widget(int(time.time()) - 3600)
    extras = Extras({"datetime": clock})
    make(extras).open()
    assert abs(clock.value - time.time()) < 2
    assert extras.calls.count("set datetime") == 1
    make(extras).open()
    assert extras.calls.count("set datetime") == 1
    clock.value -= 3600
    make(extras, sync_clock=False).open()
    assert extras.calls.count("set datetime") == 1


def test_a_clock_that_cannot_be_set_is_told(make: Make) -> None:
    info = make(Extras({"datetime": Widget(int(time.time()) - 3600)}, refusals={"set datetime": (-2, "")})).open()
    assert any((told := re.search(r"off by (\d+) s", note)) and 3600 <= int(told[1]) < 3660 for note in info.notes), "opening takes a while"


def test_discovery_tells_model_serial_and_the_lines_that_open_it(make: Make) -> None:
    (found,) = discover()
    assert (found.driver, found.model, found.serial, found.where) == ("gphoto", "Nikon DSC D750", "0.1", "usb:001,001")
    assert make(**found.options).open().serial == found.serial
