"""A skycam.yaml becomes a configuration of ours; what does not is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from cupola.config.load import from_text
from cupola.config.problems import ConfigProblems
from cupola.config.skycam import convert

OLD = """\
camera:
  type: "dslr"
  exposure_time: 6.5
  f_number: 1.8
  delay: 11
  image_path: "/srv/night/"
  port: null
sensor:
  type: "arduino"
  port: /dev/ttyACM0
  baud_rate: 115200
  sampling_interval: 4.0
monitoring:
  prometheus: {enabled: false, port: 9090}
  grafana: {enabled: true, dashboard_path: "x.json"}
logging: {level: "DEBUG", file: "/var/log/skycam/skycam.log", max_size: "5MB", backup_count: 3}
web: {host: "127.0.0.1", port: 8181, debug: false, secret_key: "hush-${SECRET}"}
cli: {output_format: "rich", verbose: false}
telescope: {mount: eq6}
"""


def _old(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "skycam.yaml"
    file.write_text(text)
    return file


def test_every_key_becomes_one_of_ours_or_is_named_with_its_line(tmp_path: Path) -> None:
    made = convert(_old(tmp_path, OLD))
    settings = from_text(made.text, "cupola.yaml", tmp_path)
    (camera,), (sensor,) = settings.cameras, settings.sensors
    assert (camera.driver, camera.exposure.exposure_s, camera.exposure.f_number, camera.capture.delay_s) == ("gphoto", 6.5, 1.8, 11)
    assert (sensor.source, sensor.port, sensor.baud, sensor.every_s) == ("arduino", "/dev/ttyACM0", 115200, 4)
    assert (str(settings.storage.root), str(settings.logging.folder)) == ("/srv/night", "/var/log/skycam")
    assert (settings.logging.debug, settings.monitoring.prometheus, settings.web.host, settings.web.port) == (True, False, "127.0.0.1", 8181)
    assert {(one.key, one.line) for one in made.left} == {
        ("monitoring.prometheus.port", 14),
        ("monitoring.grafana.enabled", 15),
        ("monitoring.grafana.dashboard_path", 15),
        ("logging.max_size", 16),
        ("logging.backup_count", 16),
        ("web.debug", 17),
        ("web.secret_key", 17),
        ("cli.output_format", 18),
        ("cli.verbose", 18),
        ("telescope.mount", 19),
    }
    assert all(one.why for one in made.left) and "hush" not in made.text + "".join(one.why for one in made.left)


def test_an_astronomical_camera_and_its_port_are_found_by_ourselves(tmp_path: Path) -> None:
    made = convert(_old(tmp_path, "camera: {type: astro, exposure_time: 30, port: /dev/ttyUSB0}\n"))
    (camera,) = from_text(made.text, "cupola.yaml", tmp_path).cameras
    assert camera.driver == "zwo" and [one.key for one in made.left] == ["camera.port"]
    made = convert(_old(tmp_path, 'camera: {type: dslr, port: "usb:001,005"}\n'))
    assert made.left == [] and "usb:001,005" in made.text


@pytest.mark.parametrize(
    ("old", "told"),
    [
        ("camera:\n  type: dslr\n  exposure_time: long\n", "skycam.yaml:3: camera.exposure_time"),
        ("camera:\n  type: dslr\nweb:\n  port: 99999\n", "skycam.yaml:4: web.port"),
        ("camera:\n  type: webcam\n", "skycam.yaml:2: camera.type: has to be dslr or astro"),
        ("camera: {delay: 3}\n", "camera.type"),
        ("sensor: {type: dht22}\n", "skycam.yaml:1: sensor.type"),
        ("cameras: []\n", "no configuration of skycam"),
        ("camera: [1\n", "skycam.yaml"),
        ("- 1\n", "no configuration of skycam"),
        ("", "no configuration of skycam"),
    ],
)
def test_what_cannot_be_is_told_as_it_stands_in_the_old_file(tmp_path: Path, old: str, told: str) -> None:
    with pytest.raises(ConfigProblems) as refused:
        convert(_old(tmp_path, old))
    assert told in str(refused.value)


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigProblems, match="no such file"):
        convert(tmp_path / "skycam.yaml")
