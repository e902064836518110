"""What is said about values that cannot be used: complete, with the place, and without secrets."""

from pathlib import Path

import pytest

from cupola.config.base import mask
from cupola.config.camera import Camera
from cupola.config.drivers import DRIVERS
from cupola.config.load import from_text
from cupola.config.problems import ConfigProblems, Problem

ALL_DRIVERS = ", ".join(DRIVERS)
HOW = "write it as sunset..sunrise, astronomical_dusk..dawn, sunrise-30m..sunset+30m, 22:00..04:30 or always"


def said(text: str) -> list[str]:
    """The problems of a configuration, as they are printed."""
    try:
        from_text(text, "cupola.yaml", Path("/base"))
    except ConfigProblems as error:
        return str(error).splitlines()
    return []


def camera(keys: str = "", driver: str = "driver: simulator") -> str:
    return f"cameras:\n  - name: sky\n    {driver}\n    {keys}\n"


def test_two_cameras_with_one_webcam_are_both_named() -> None:
    def two(first: str, second: str) -> list[str]:
        block = "  - {{name: {0}, driver: video, video: {{source: '{1}'}}}}\n"
        return said("cameras:\n" + block.format("front", first) + block.format("back", second))

    (line,) = two("/dev/video0", "/dev/video0")
    assert 'cameras[1].video: names the device that camera "front" has already; each camera needs a device of its own' in line
    assert not two("/dev/video0", "/dev/video2")
    assert not two("rtsp://h/x", "rtsp://h/x"), "a network camera serves several"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "webb:\n  port: 1\n",
            'cupola.yaml:1: webb: unknown key; did you mean "web"? Allowed: version, station, storage, cameras, clips, mqtt, redis, sensors, outputs, alarms, notify, web, monitoring, logging',
        ),
        (
            "web:\n  zzzzz: 1\n",
            "cupola.yaml:2: web.zzzzz: unknown key; Allowed: host, port, max_viewers, session_minutes, hosts, trusted_proxies, tls",
        ),
        (
            camera("drivr: video"),
            f'cupola.yaml:4: cameras[0].drivr: unknown key; did you mean "driver"? Allowed: {", ".join(Camera.model_fields)}',
        ),
        (camera("night: {window: dusk to dawn}"), f"cupola.yaml:4: cameras[0].night.window: is no window; {HOW}"),
        (camera("night: {window: sunset..sunrice}"), "cupola.yaml:4: cameras[0].night.window: is no window; did you mean sunrise?"),
        (camera("night: {window: 25:00..sunrise}"), "cupola.yaml:4: cameras[0].night.window: is no window; a time of the clock is 00:00 to 23:59"),
        (camera("night: {window: 22:00:60..sunrise}"), "cupola.yaml:4: cameras[0].night.window: is no window; a time of the clock is 00:00 to 23:59"),
        (camera("day: {window: sunrise-13h..sunset}"), "cupola.yaml:4: cameras[0].day.window: is no window; an offset is at most 12h"),
        (camera("day: {window: sunrise-..sunset}"), f"cupola.yaml:4: cameras[0].day.window: is no window; {HOW}"),
        (
            camera("night: {interval_s: 30, video_length_s: 30}"),
            "cupola.yaml:4: cameras[0].night.video_length_s: cannot stand beside interval_s; keep one of the two",
        ),
        (
            camera("night: {window: sunset..sunrise}\n    capture: {autostart: true}"),
            "cupola.yaml:2: cameras[0]: has both capture.autostart and a window of the night or day; "
            "remove capture.autostart: the series begins with the window",
        ),
        ("cameras:\n  - driver: simulator\n", "cupola.yaml:2: cameras[0].name: is missing; The camera's name in folders, addresses and commands."),
        (
            camera(driver="driver: replay"),
            "cupola.yaml:2: cameras[0].replay.path: is missing; Folder with images (played by name), or one video file.",
        ),
        (
            camera(driver="driver: Simulater"),
            f'cupola.yaml:3: cameras[0].driver: is no driver; did you mean "simulator"? Allowed: {ALL_DRIVERS}',
        ),
        (
            camera("replay: {path: x}"),
            'cupola.yaml:4: cameras[0].replay: belongs to the driver "replay", but this camera has driver: simulator; '
            "remove this group, or write driver: replay",
        ),
        ("web: {port: 70000}\n", "cupola.yaml:1: web.port: must be from 1 to 65535, not 70000"),
        ("station: {latitude: -91.5}\n", "cupola.yaml:1: station.latitude: must be from -90 to 90°, not -91.5"),
        (camera("exposure: {exposure_s: 0}"), "cupola.yaml:4: cameras[0].exposure.exposure_s: must be above 0, at most 86400 s, not 0"),
        (camera("exposure: {exposure_s: .nan}"), "cupola.yaml:4: cameras[0].exposure.exposure_s: must be a finite number; above 0, at most 86400 s"),
        (camera("exposure: {gain: -.inf}"), "cupola.yaml:4: cameras[0].exposure.gain: must be a finite number; from 0 to 1000000"),
        (camera("simulator: {width: 101}"), "cupola.yaml:4: cameras[0].simulator.width: must be an even number, not 101"),
        (
            camera("simulator: {bayer: rggb}"),
            'cupola.yaml:4: cameras[0].simulator.bayer: "rggb" is not one of its values; did you mean "RGGB"? Allowed: RGGB, BGGR, GRBG, GBRG, null',
        ),
        ("storage: {originals: of}\n", 'cupola.yaml:1: storage.originals: "of" is not one of its values; did you mean "off"? Allowed: keep, off'),
        ("storage: {originals: true}\n", "cupola.yaml:1: storage.originals: must be one of its values, not true/false; Allowed: keep, off"),
        (
            "storage: {min_free_percent: 6, retention: {keep_free_percent: 4}}\n",
            "cupola.yaml:1: storage.retention: has keep_free_percent: 4.0, not more than min_free_percent: 6.0; storing would stop before anything is deleted; "
            "write more than that, 0 to delete nothing for space, or leave it out",
        ),
        (
            "storage: {retention: {days: {originals: 0}}}\n",
            "cupola.yaml:1: storage.retention.days.originals: must be above 0, at most 36500 days, not 0",
        ),
        ("web: {port: '80'}\n", "cupola.yaml:1: web.port: must be a whole number, not text; remove the quotes around the number"),
        ("web: {port: 80.5}\n", "cupola.yaml:1: web.port: must be a whole number, not a number with a fraction; from 1 to 65535"),
        ("web: {port: true}\n", "cupola.yaml:1: web.port: must be a whole number, not true/false; from 1 to 65535"),
        ("station: {latitude: north}\n", "cupola.yaml:1: station.latitude: must be a number, not text; from -90 to 90°"),
        ("station: {name: 42}\n", "cupola.yaml:1: station.name: must be text, not a number; letters, digits, - and _, at most 32"),
        (
            "web: {hosts: ['http://sky.example.org']}\n",
            "cupola.yaml:1: web.hosts[0]: has characters or a length that it must not have; Allowed: names without http:// and port, such as sky.example.org",
        ),
        (
            "station: {name: two words}\n",
            "cupola.yaml:1: station.name: has characters or a length that it must not have; Allowed: letters, digits, - and _, at most 32",
        ),
        (
            "station: {timezone: Europe/Zuerich}\n",
            'cupola.yaml:1: station.timezone: is no timezone this machine knows; did you mean "Europe/Zurich"?',
        ),
        (
            "station: {timezone: ../passwd}\n",
            "cupola.yaml:1: station.timezone: is no timezone this machine knows; write it as in Europe/Zurich, or UTC",
        ),
        ("logging: {debug: maybe}\n", "cupola.yaml:1: logging.debug: must be true or false, not text"),
        ("storage: {root: ''}\n", "cupola.yaml:1: storage.root: must be the path of a file or folder"),
        ("storage: {root: ~nobody-here/x}\n", "cupola.yaml:1: storage.root: begins with ~, but there is no such home folder"),
        ("station: {latitude: " + "9" * 400 + "}\n", "cupola.yaml:1: station.latitude: must be from -90 to 90°"),
        ("web: {port: " + "9" * 400 + "}\n", "cupola.yaml:1: web.port: must be from 1 to 65535"),
        (camera(driver="driver: 5"), f"cupola.yaml:3: cameras[0].driver: must be text, not a number; {ALL_DRIVERS}"),
        ("storage: {root: 5}\n", "cupola.yaml:1: storage.root: must be a path, not a number"),
        ("web: 5\n", "cupola.yaml:1: web: must be a group of keys, not a number; write one key: value a line, indented"),
        ("cameras: sky\n", "cupola.yaml:1: cameras: must be a list, not text; each entry begins with a dash on a line of its own"),
        ("cameras: [sky]\n", "cupola.yaml:1: cameras[0]: must be a group of keys, not text; write one key: value a line, indented"),
        ("- name: sky\n", "cupola.yaml:1: a configuration is a group of keys; begin with station: or cameras:"),
        (
            camera("capture: {interval_s: 5, delay_s: 1}"),
            "cupola.yaml:4: cameras[0].capture.delay_s: cannot stand beside interval_s; keep one of the two",
        ),
        (
            camera("exposure: {auto: {gain_min: 200, gain_max: 100}}"),
            "cupola.yaml:4: cameras[0].exposure.auto.gain_max: is below the least one; give a greater one, or leave one of the two out",
        ),
        (
            camera("exposure: {auto: {region: {x: 0.5, width: 0.6}}}"),
            "cupola.yaml:4: cameras[0].exposure.auto.region: reaches beyond the picture; x + width and y + height are at most 1",
        ),
        (
            camera("simulator: {exposure_min_s: 2, exposure_max_s: 1}"),
            "cupola.yaml:4: cameras[0].simulator.exposure_max_s: must be longer than exposure_min_s",
        ),
        (
            camera("simulator: {sky_time: 2026-11-21T23:15:00}"),
            "cupola.yaml:4: cameras[0].simulator.sky_time: is neither now, night, nor a time in UTC such as 2026-11-21T23:15:00Z",
        ),
        (camera("simulator: {faults: {crash_on: [3, 0]}}"), "cupola.yaml:4: cameras[0].simulator.faults.crash_on[1]: must be at least 1, not 0"),
        (
            "cameras:\n  - {name: con, driver: simulator}\n",
            "cupola.yaml:2: cameras[0].name: is a reserved word; choose another name, such as sky or north",
        ),
        (
            camera() + "storage:\n  state: cupola-data/sky/state\n",
            'cupola.yaml:6: storage.state: lies in the folder of the images of camera "sky"; choose another folder, or rename the camera',
        ),
        (
            camera("zwo: {serial: 1F2E110500000901}", "driver: zwo") + "  - {name: two, driver: zwo, zwo: {serial: 1f2e110500000901}}\n",
            'cupola.yaml:5: cameras[1].zwo: names the device that camera "sky" has already; each camera needs a device of its own',
        ),
        (
            camera(driver="driver: zwo") + "  - {name: two, driver: zwo}\n",
            'cupola.yaml:5: cameras[1].zwo: names the device that camera "sky" has already; each camera needs a device of its own',
        ),
        (
            camera("zwo: {serial: 1a2b}", "driver: zwo"),
            "cupola.yaml:4: cameras[0].zwo.serial: has characters or a length that it must not have; Allowed: "
            "16 hexadecimal digits, as `cupola cameras` shows them",
        ),
        (
            camera("video: {source: 'rstp://h/x'}", "driver: video"),
            'cupola.yaml:4: cameras[0].video.source: is a URL of an unknown kind; did you mean "rtsp"? Allowed: rtsp, rtsps, http, https',
        ),
        (
            camera("video: {source: 'rtsp://'}", "driver: video"),
            "cupola.yaml:4: cameras[0].video.source: is a URL without a usable host or port; write it as rtsp://192.168.1.20:554/path",
        ),
        (
            camera("video: {source: ' '}", "driver: video"),
            "cupola.yaml:4: cameras[0].video.source: is empty; give a URL or a device such as /dev/video0",
        ),
    ],
)
def test_each_kind_of_mistake_is_explained_with_its_place_and_what_is_allowed(text: str, line: str) -> None:
    assert said(text) == [line]


def test_all_mistakes_of_a_file_are_reported_at_once_in_the_order_of_its_lines() -> None:
    text = """station:
  latitude: 100
cameras:
  - name: sky
    drivr: simulator
    capture: {interval_s: 1, delay_s: 1}
  - name: sky
    driver: video
    simulator: {}
web:
  port: 0
  port: 1
"""
    keys = [line.split(": ")[:2] for line in said(text)]
    assert keys == [
        ["cupola.yaml:2", "station.latitude"],
        ["cupola.yaml:4", "cameras[0].driver"],
        ["cupola.yaml:5", "cameras[0].drivr"],
        ["cupola.yaml:6", "cameras[0].capture.delay_s"],
        ["cupola.yaml:7", "cameras[1].name"],
        ["cupola.yaml:7", "cameras[1].video.source"],
        ["cupola.yaml:9", "cameras[1].simulator"],
        ["cupola.yaml:11", "web.port"],
        ["cupola.yaml:12", "web.port"],
    ]
    assert "is already the name of cameras[0]" in said(text)[4]


def test_a_problem_carries_its_parts() -> None:
    with pytest.raises(ConfigProblems) as raised:
        from_text("web:\n  port: 0\n", "cupola.yaml", Path())
    assert raised.value.problems == [Problem("cupola.yaml", 2, 3, "web.port", "must be from 1 to 65535, not 0", "")]


@pytest.mark.parametrize(
    "text",
    [
        camera("video: {source: 'rstp://admin:hunter2@h/x'}", "driver: video"),
        camera("video: {source: 'rtsp://admin:hunter2@h:99999/x'}", "driver: video"),
        camera("video: {source: [rtsp://admin:hunter2@h/x]}", "driver: video"),
        camera("video: {sorce: rtsp://admin:hunter2@h/x}", "driver: video"),
        camera("video: {source: /dev/video0, transport: rtsp://admin:hunter2@h/x}", "driver: video"),
        "rtsp://admin:hunter2@h/x: 1\n",
        "a: *hunter2\n",
        "a: 'hunter2\n",
    ],
)
def test_no_message_repeats_a_password(text: str) -> None:
    lines = said(text)
    assert lines
    assert "hunter2" not in "\n".join(lines)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://u:p@h:554/a", "rtsp://***@h:554/a"),
        ("rtsp://u:p@ss/w@h/a", "rtsp://***@h/a"),
        ("http://h/c?user=u&password=p&x=1", "http://h/c?user=u&password=***&x=1"),
        ("rtsp://h/user=a_password=p_channel=1", "rtsp://h/user=a_password=***"),
        ("/dev/video0", "/dev/video0"),
    ],
)
def test_credentials_of_addresses_are_masked(address: str, shown: str) -> None:
    assert mask(address) == shown


def test_control_characters_of_a_key_do_not_reach_the_terminal() -> None:
    (line,) = said('"\\e[31mred": 1\n')
    assert line.startswith("cupola.yaml:1: \\x1b[31mred: unknown key")
