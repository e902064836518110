"""What the API tells about the station and its camera, and does with them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.support.station import RunningStation, eventually

from cupola import __version__


def test_health_says_version_and_state_of_every_camera(station: RunningStation) -> None:
    health = station.http.get("/api/health").json()
    assert health["status"] == "ok"
    assert health["version"] == __version__
    assert health["cameras"] == {"sky": "running"}
    assert (health["viewers"], health["max_viewers"]) == (0, 3)
    assert 0 < health["uptime_s"] < station.http.get("/api/health").json()["uptime_s"]


def test_status_tells_of_disk_darkroom_and_cameras(station: RunningStation) -> None:
    status = station.http.get("/api/status").json()
    assert status["station"] == "teststation"
    assert status["disk_free_bytes"] > 0 and 0 < status["disk_free_percent"] <= 100
    assert set(status["darkroom"]) == {"state", "waiting"}
    assert [camera["name"] for camera in status["cameras"]] == ["sky"]


def test_cameras_tell_what_the_opened_camera_is(station: RunningStation) -> None:
    (listed,) = station.http.get("/api/cameras").json()["items"]
    info = listed["info"]
    assert (info["width"], info["height"], info["pixel_format"], info["bits"]) == (320, 240, "bayer", 12)
    assert info["controls"]["exposure_s"]["maximum"] == 300
    assert listed["driver"] == "simulator" and listed["state"] == "running" and listed["problem"] is None
    assert station.camera()["info"] == info


def test_disconnect_closes_the_camera_and_connect_opens_it_again(station: RunningStation) -> None:
    closed = station.http.post("/api/cameras/sky/disconnect").json()
    assert closed["state"] == "stopped"
    assert closed["activity"]["words"] == "closed"
    refused = station.http.post("/api/cameras/sky/snap")
    assert refused.status_code == 409, refused.text
    assert station.http.get("/api/cameras/sky/live.jpg").status_code == 409
    opened = station.http.post("/api/connect").json()
    assert (opened["name"], opened["state"]) == ("sky", "running")


def test_a_series_with_a_count_ends_by_itself(station: RunningStation) -> None:
    before = station.camera()["images_today"]
    started = station.http.post("/api/cameras/sky/start", json={"exposure_s": 0.04, "count": 3}).json()
    session = started["session"]
    assert (session["count"], session["exposure_s"]) == (3, 0.04), "told also where it is over before the answer is put together"
    after = station.until(lambda camera: camera["session"] is None)
    assert after["images_today"] == before + 3
    newest = station.http.get("/api/captures?limit=3").json()["items"]
    assert [image["session"] for image in newest] == [session["id"]] * 3
    assert [image["exposure_s"] for image in newest] == [0.04] * 3


def test_stop_ends_an_endless_series_during_its_exposure(station: RunningStation) -> None:
    station.http.post("/api/cameras/sky/start", json={"exposure_s": 200})
    station.until(lambda camera: camera["activity"]["kind"] == "exposing")
    assert station.http.post("/api/cameras/sky/stop").json()["session"] is None
    station.until(lambda camera: camera["activity"]["kind"] in ("idle", "live"))


def test_a_series_is_started_without_a_body_as_configured(station: RunningStation) -> None:
    session = station.http.post("/api/cameras/sky/start").json()["session"]
    assert (session["count"], session["interval_s"], session["exposure_s"]) == (None, None, 0.05)
    assert station.http.post("/api/cameras/sky/stop").json()["session"] is None


def test_a_series_may_be_paced_in_one_way_only(station: RunningStation) -> None:
    refused = station.http.post("/api/cameras/sky/start", json={"delay_s": 1, "interval_s": 1})
    assert refused.status_code == 400
    assert refused.json()["field"] == "interval_s"
    assert station.camera()["session"] is None


def test_snap_answers_when_the_image_is_on_disk_and_listed(station: RunningStation) -> None:
    image = station.http.post("/api/cameras/sky/snap", json={"exposure_s": 0.03}).json()
    assert image["exposure_s"] == 0.03 and image["session"] is None
    (file,) = [file for file in image["files"] if file["kind"] == "raw"]
    assert (station.images / file["path"]).stat().st_size == file["bytes"]
    assert station.http.get("/api/captures?limit=1").json()["items"][0]["id"] == image["id"]
    assert station.camera()["last_image"]["id"] == image["id"]


def test_settings_are_accepted_then_applied_then_visible_in_a_picture(station: RunningStation) -> None:
    answer = station.http.patch("/api/cameras/sky/settings", json={"mode": "live", "exposure_s": 0.02, "gain": 123})
    assert answer.status_code == 202
    accepted = answer.json()
    assert accepted["mode"] == "live"
    assert (accepted["requested"]["exposure_s"], accepted["requested"]["gain"]) == (0.02, 123)

    def live() -> dict[str, object]:
        return station.camera()["settings"]["live"]

    eventually(lambda: live()["applied_generation"] == accepted["generation"])
    applied = live()["applied"]
    assert isinstance(applied, dict) and (applied["exposure_s"], applied["gain"]) == (0.02, 123)
    assert live()["visible_generation"] != accepted["generation"], "nobody watches: no picture can show it yet"

    def seen() -> bool:
        assert station.http.get("/api/cameras/sky/live.jpg?max_age_s=0").status_code == 200
        return live()["visible_generation"] == accepted["generation"]

    eventually(seen)
    assert live()["visible"] == applied


@pytest.mark.parametrize("action", ["snap", "start", "settings"])
@pytest.mark.parametrize(("field", "value"), [("exposure_s", 301), ("exposure_s", 0.00001), ("gain", 401)])
def test_a_value_beyond_the_sensors_limits_is_refused_by_name(station: RunningStation, action: str, field: str, value: float) -> None:
    method = "PATCH" if action == "settings" else "POST"
    if (action, field) == ("snap", "gain"):
        value, wanted = 1, "gain"  # a snap has no gain at all
    else:
        wanted = field
    generation = station.camera()["settings"]["still"]["generation"]
    refused = station.http.request(method, f"/api/cameras/sky/{action}", json={field: value})
    assert refused.status_code == 400, refused.text
    assert refused.json()["field"] == wanted
    assert wanted in refused.json()["detail"]
    assert station.camera()["settings"]["still"]["generation"] == generation
    assert station.camera()["session"] is None


def test_the_openapi_document_of_the_running_server_is_the_one_in_step(station: RunningStation) -> None:
    document = station.http.get("/api/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert "422" not in operation["responses"], (path, method)
            assert list(operation["responses"]["default"]["content"]) == ["application/problem+json"], (path, method)


def test_the_page_and_the_api_carry_security_headers(station: RunningStation) -> None:
    def headers(path: str) -> httpx.Headers:
        return station.http.get(path).headers

    for path in ("/", "/api/health", "/api/nothing"):
        assert headers(path)["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers(path)["content-security-policy"]


def test_auto_exposure_is_taken_up_left_for_one_setting_and_ended_by_the_api(station: RunningStation) -> None:
    def patch(**body: object) -> dict[str, Any]:
        answer = station.http.patch("/api/cameras/sky/settings", json=body)
        assert answer.status_code == 202, answer.text
        return answer.json()

    try:
        taken_up = patch(auto=True)
        assert (taken_up["mode"], taken_up["automatic"]) == ("still", ["exposure_s", "gain"])
        assert (taken_up["requested"]["exposure_s"], taken_up["requested"]["gain"]) == (None, None)
        by_hand = patch(mode="still", exposure_s=0.04)
        assert (by_hand["automatic"], by_hand["requested"]["exposure_s"]) == (["gain"], 0.04)
        assert station.http.post("/api/cameras/sky/start", json={"count": 3, "delay_s": 0}).status_code == 200
        station.until(lambda status: status["session"] is None, 40)
        images = station.http.get("/api/captures?limit=3").json()["items"]
        assert all(image["exposure_s"] == 0.04 and image["correction"] is not None for image in images)
        still = station.until(lambda status: status["settings"]["still"]["visible"]["gain"] == images[0]["gain"])["settings"]["still"]
        assert still["automatic"] == ["gain"] and still["requested"]["gain"] is None
        assert still["applied"]["gain"] is not None
        ended = patch(auto=False)
        assert ended["automatic"] == [] and ended["requested"]["gain"] is not None
    finally:
        patch(mode="still", exposure_s=0.05, gain=200, auto=False)


def test_auto_exposure_of_the_live_view_is_refused_by_name(station: RunningStation) -> None:
    refused = station.http.patch("/api/cameras/sky/settings", json={"mode": "live", "auto": True})
    assert (refused.status_code, refused.json()["field"]) == (400, "auto")
