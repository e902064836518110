"""The gphoto driver beyond the contract: libgphoto2's virtual Nikon, with a fake of what that camera lacks."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from cupola.core.errors import CameraBusy, CameraNotFound, CaptureCancelled, ConfigError, CupolaError, ExposureFailed, LibraryMissing
from cupola.core.frame import Capability, Controls, Packet, Station, Stop
from cupola.drivers import gphoto_errors
from cupola.drivers.gphoto import Gphoto, discover
from tests.drivers.gphoto_sources import OPTIONS, Extras, Widget, night_jpeg, virtual_nikon, with_bulb

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
    assert gain.choices == (100, 200, 400, 800, 1600)
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
    assert len(extras.deleted) == 2 and len(set(extras.deleted)) == 2


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
    assert len(extras.deleted) == 2


def test_a_raw_file_alone_shows_the_picture_inside_of_it(make: Make) -> None:
    small, large = night_jpeg(160, 120), night_jpeg(800, 600)
    extras = Extras(raw=b"II*\0" + bytes(100) + small + b"\xff\xd8\xff\xc3junk" + large + bytes(3000), raw_only=True)
    camera = make(extras)
    camera.open()
    picture = camera.expose(Stop())
    assert picture.native is not None and not picture.native.paired
    assert picture.data == large


def test_files_stay_on_the_card_where_that_is_wished(make: Make) -> None:
    extras = Extras()
    camera = make(extras, keep_on_card=True)
    camera.open()
    camera.expose(Stop())
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


SILENT = """
import json
from cupola.core.errors import ExposureFailed
from cupola.core.frame import Controls, Station, Stop
from cupola.drivers.gphoto import Gphoto
from tests.drivers.gphoto_sources import OPTIONS
camera, outcomes = Gphoto(OPTIONS, Station()), []
camera.open()
camera.apply(Controls(exposure_s=0.0001))
while len(outcomes) < 32 and not ("failed" in outcomes and outcomes[-1] == "taken"):
    try:
        outcomes.append("taken" if camera.expose(Stop()).data else "empty")
    except ExposureFailed as failure:
        outcomes.append("failed" if "took no picture" in str(failure) else str(failure))
camera.close()
print(json.dumps(outcomes))
"""


def test_an_exposure_that_silently_gives_no_file_is_reported_and_the_next_one_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The virtual camera does so once in 27 exposures, and answers nothing but errors after it until it is opened anew.

    In a process of its own: what the virtual camera does then depends on what other tests did with it before (its card may be full for good).
    """
    virtual_nikon(monkeypatch, tmp_path)
    done = subprocess.run([sys.executable, "-c", SILENT], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)
    assert "failed" in outcomes and outcomes[-1] == "taken", "\n".join(outcomes)


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
    assert any("off by 3600 s" in note or "off by 3601 s" in note for note in info.notes)


def test_discovery_tells_model_serial_and_the_lines_that_open_it(make: Make) -> None:
    (found,) = discover()
    assert (found.driver, found.model, found.serial, found.where) == ("gphoto", "Nikon DSC D750", "0.1", "usb:001,001")
    assert make(**found.options).open().serial == found.serial
