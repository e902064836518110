"""The camera's process killed, stopped, crashed or hung in the middle of an exposure: the server answers, viewers are told, the series goes on."""

import signal
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.torture.station import CAMERA, Listener, Prober, Station, sky, until

from cupola.core.clock import utc_now

pytestmark = pytest.mark.torture
EXPOSURE_S = 1.0
MARGIN_S = 2.0  # the deadline of an exposure is its end and this much more
HANG_S, CRASH_S = 10.0, 5.0


def _mid_exposure(station: Station) -> None:
    def exposing() -> bool:
        doing = station.camera()["activity"]
        return doing["kind"] == "exposing" and 0.2 < doing["elapsed_s"] < 0.7

    until(exposing, 20, "the middle of an exposure")


def _send(number: signal.Signals) -> Callable[[Station], None]:
    def strike(station: Station) -> None:
        _mid_exposure(station)
        station.one(CAMERA).send_signal(number)

    return strike


def _wait_for_fault(station: Station) -> None:
    """The simulator strikes by itself, in the middle of its third exposure."""
    until(lambda: len(station.captures()) >= 2, 30, "two images before the fault")
    _mid_exposure(station)


@pytest.mark.parametrize(
    ("faults", "strike", "crash"),
    [
        pytest.param({}, _send(signal.SIGKILL), True, id="SIGKILL"),
        pytest.param({}, _send(signal.SIGSTOP), False, id="SIGSTOP"),
        pytest.param({"crash_on": [3]}, _wait_for_fault, True, id="segmentation fault"),
        pytest.param({"hang_on": [3]}, _wait_for_fault, False, id="hang"),
        pytest.param({"hang_on": [3], "hang_holds_gil": True}, _wait_for_fault, False, id="hang that holds the interpreter"),
    ],
)
def test_a_camera_process_that_dies_or_hangs_is_replaced_and_the_viewers_are_told(
    tmp_path: Path, faults: dict[str, Any], strike: Callable[[Station], None], crash: bool, request: pytest.FixtureRequest
) -> None:
    camera = sky(faults=faults, exposure_s=EXPOSURE_S)
    with Station(tmp_path, camera) as station:
        station.running()
        with Listener(station, "/ws/events") as events, Prober(station) as prober:
            station.post("/api/cameras/north/start")
            until(lambda: events.events("image_captured"), 20, "the first image")
            with Listener(station, "/ws/live/north") as viewer:
                strike(station)
                struck = utc_now()
                old = {process.pid for process in station.processes(CAMERA)}
                lost = until(lambda: events.events("camera_lost"), EXPOSURE_S + MARGIN_S + HANG_S, "camera_lost")[0]

                def next_images() -> list[Any]:
                    return [event for event in events.events("image_captured") if datetime.fromisoformat(event["opened_at"]) > struck]

                following = until(next_images, 30, "the next image")[0]
                deadline = struck if crash else struck + timedelta(seconds=EXPOSURE_S + MARGIN_S)
                took_s = (datetime.fromisoformat(following["opened_at"]) - deadline).total_seconds()
                seen = len(viewer.pictures)
                until(lambda: len(viewer.pictures) > seen, 10, "the viewer sees pictures again, on the same socket")
                states = [text["state"] for text in viewer.texts if text["type"] == "state"]
                assert not viewer.ended
        print(
            f"\n{request.node.callspec.id}: {lost['cause']}; next exposure {took_s:.1f} s after the {'crash' if crash else 'deadline'}; "
            f"health p99 {prober.percentile_s(99) * 1000:.0f} ms of {len(prober.took_s)}; told {list(dict.fromkeys(states))}"
        )
        assert lost["cause"] in (("crash",) if crash else ("hang",))
        assert took_s < (CRASH_S if crash else HANG_S)
        assert not prober.failures
        assert prober.percentile_s(99) < 1.0
        assert "recovering" in states and states.index("recovering") > 0, states
        assert not old & {process.pid for process in station.processes(CAMERA)}, "the old process is gone"
        station.verify_storage()
        station.verify_whole()
