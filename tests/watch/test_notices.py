"""When something is told, and how often: on a clock that only these tests move."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from cupola.config.notify import Quiet
from cupola.core.events import CameraConnected, CameraLost, CaptureFailed, Event, HostAlarm, ImageCaptured, NightFinished, ProductFailed
from cupola.watch.meaning import WELL_S, Meaning
from cupola.watch.notices import PER_HOUR, REFILL_S, Notice, Notices
from cupola.watch.notify import quiet_until


class Owner:
    """Somebody who is told everything, on a clock of its own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.meaning, self.notices = Meaning(lambda: "40 % used"), Notices()
        self.told: list[Notice] = []

    def happens(self, *events: Event, after_s: float = 0.0) -> list[Notice]:
        """What is told of these events, which happen at once; a second later."""
        self.now += after_s
        for sign in self.meaning.later(self.now):
            self.notices.hear(sign, self.now, self.now)
        for event in events:
            for sign in self.meaning.signs(event, self.now):
                self.notices.hear(sign, self.now, self.now)
        self.now += 1
        told = self.notices.due(self.now, self.now)
        self.told += told
        return told


def lost(camera: str = "north") -> CameraLost:
    return CameraLost(camera=camera, cause="lost", message="It is unplugged.")


def failed(camera: str = "north", kind: str = "exposure_failed") -> CaptureFailed:
    return CaptureFailed(camera=camera, error_type=kind, message="No picture came.")


def captured(camera: str = "north") -> ImageCaptured:
    return ImageCaptured(camera=camera, id=1, sequence=1, opened_at=datetime(2026, 11, 21, tzinfo=UTC), day="2026-11-21", path="x.jpg")


def alarm(what: str = "disk", level: str = "WARNING", *, active: bool = True) -> HostAlarm:
    return HostAlarm.model_validate(
        {"what": what, "level": level, "active": active, "value": 81.0, "limit": 80.0, "unit": "%", "message": f"{what} high"}
    )


def test_a_camera_is_told_of_at_its_third_failure_in_a_row_and_when_it_takes_pictures_again() -> None:
    owner = Owner()
    assert owner.happens(failed(), failed(), captured(), failed(), failed()) == []
    (notice,) = owner.happens(failed())
    assert (notice.level, notice.kind) == ("ERROR", "capture_failed")
    assert "north" in notice.title and "3 times" in notice.title
    (back,) = owner.happens(captured(), after_s=720)
    assert (back.kind, back.level, back.reach) == ("recovered", "INFO", "ERROR")
    assert "12 min" in back.text


def test_four_hundred_failures_make_one_message() -> None:
    owner = Owner()
    for _ in range(400):
        owner.happens(failed(), after_s=8)
    assert len(owner.told) == 1
    (back,) = owner.happens(captured())
    assert "(397 times)" in back.text


def test_a_still_that_the_disk_did_not_take_is_not_the_cameras_fault() -> None:
    owner = Owner()
    assert owner.happens(*(failed(kind="storage_full") for _ in range(5))) == []


def test_a_camera_without_stills_is_well_after_a_minute_without_failure() -> None:
    owner = Owner()
    assert len(owner.happens(lost(), lost(), lost())) == 1
    assert owner.happens(CameraConnected(camera="north", model="sky")) == []
    assert owner.happens(after_s=WELL_S / 2) == []
    (back,) = owner.happens(after_s=WELL_S)
    assert back.kind == "recovered"


def test_a_camera_that_comes_and_goes_is_told_of_once_in_ten_minutes() -> None:
    owner = Owner()
    for _ in range(200):
        owner.happens(lost(), lost(), lost())
        owner.happens(captured(), after_s=5)
    assert 3 <= len(owner.told) <= 3 + (owner.now - 1000) / REFILL_S
    owner.happens(after_s=REFILL_S)
    assert owner.told[-1].kind == "recovered", "the last that is heard is how it is"


def test_a_trouble_that_gets_worse_is_told_of_again_and_one_that_gets_better_is_not() -> None:
    owner = Owner()
    assert [one.level for one in owner.happens(alarm())] == ["WARNING"]
    assert [one.level for one in owner.happens(alarm(level="ERROR"))] == ["ERROR"]
    assert owner.happens(alarm()) == []
    (over,) = owner.happens(alarm(active=False))
    assert (over.kind, over.reach) == ("recovered", "ERROR")


def test_what_happens_together_and_is_of_one_kind_comes_as_one() -> None:
    owner = Owner()
    told = owner.happens(*(lost(f"cam{number}") for number in range(5) for _ in range(3)), alarm())
    assert sorted(one.kind for one in told) == ["camera_lost", "host_alarm"]
    (cameras,) = [one for one in told if one.kind == "camera_lost"]
    assert cameras.text.count("\n") == 4


def test_beyond_the_limit_of_an_hour_everything_comes_as_one() -> None:
    owner = Owner()
    for number in range(400):
        owner.happens(ProductFailed(camera=f"c{number}", product="timelapse", period=1, period_kind="night", day="2026-11-21", message="x"))
    assert len(owner.told) <= PER_HOUR + 400 / (3600 / PER_HOUR) + 1
    owner.happens(after_s=3600)
    assert sum(one.text.count("\n") + 1 for one in owner.told) == 400, "each is in one of them"


def test_a_trouble_that_was_told_before_a_restart_is_told_to_be_over_after_it() -> None:
    before, after = Owner(), Owner()
    before.happens(lost(), lost(), lost())
    troubles = before.notices.open()
    after.notices.take_up(troubles)
    after.meaning.take_up(troubles)
    assert after.happens(lost()) == [], "it was told already"
    assert [one.kind for one in after.happens(captured())] == ["recovered"]
    assert after.notices.open() == {}


def test_the_summary_has_the_figures_of_the_night_and_its_best_picture() -> None:
    made = {
        "photos": 700,
        "expected": 720,
        "gaps": [{}],
        "gap_s": 200.0,
        "best": {"path": "north/2026/11/21/jpg/a.jpg"},
        "stars_most": 311,
        "streaks": 4,
    }
    made["products"] = [{"kind": "timelapse", "state": "finished", "images": 700}]
    (notice,) = Owner().happens(NightFinished(camera="north", period=3, period_kind="night", day="2026-11-21", summary=made))
    assert (notice.level, notice.picture) == ("INFO", "north/2026/11/21/jpg/a.jpg")
    for words in ("700 of 720", "Gaps: 1", "Video: 700 images", "Stars: 311", "40 % used"):
        assert words in notice.text


@pytest.mark.parametrize(
    ("level", "local", "told"),
    [
        ("WARNING", "2026-11-21T21:59", "2026-11-21T21:59"),
        ("WARNING", "2026-11-21T22:00", "2026-11-22T07:00"),
        ("WARNING", "2026-11-22T06:59", "2026-11-22T07:00"),
        ("WARNING", "2026-11-22T07:00", "2026-11-22T07:00"),
        ("ERROR", "2026-11-22T03:00", "2026-11-22T03:00"),
        ("WARNING", "2026-10-24T23:00", "2026-10-25T07:00"),  # the night in which clocks are set back
    ],
)
def test_quiet_hours_hold_back_what_is_not_urgent(level: str, local: str, told: str) -> None:
    zone = ZoneInfo("Europe/Zurich")
    now, due = (datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() for text in (local, told))
    notice = Notice("x", level, level, now, "", "")  # type: ignore[arg-type]
    assert quiet_until(Quiet(), notice, now, zone) == due
