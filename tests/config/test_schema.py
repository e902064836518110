"""What the configuration says about itself, and that examples and documents keep in step."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic.fields import FieldInfo

import cupola.config
from cupola.config.base import Block, block_of, fact
from cupola.config.drivers import DRIVERS
from cupola.config.load import demo_settings, from_text, load
from cupola.config.model import Settings
from cupola.config.schema import initial_yaml, json_schema, main, markdown, show, show_yaml
from cupola.core.errors import InvalidSetting

PROJECT = Path(__file__).parents[2]
EXAMPLES = sorted((PROJECT / "examples").glob("*.yaml"))
DRIVERS_PAGE = PROJECT / "docs" / "drivers.md"
SECRETS = {"DOOR_PASSWORD": "hunter2", "YARD_PASSWORD": "hunter3"}


def keys(block: type[Block], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in block.model_fields.items():
        yield f"{prefix}{name}", field
        if below := block_of(field.annotation):
            yield from keys(below, f"{prefix}{name}.")


def test_there_are_examples() -> None:
    assert {file.stem for file in EXAMPLES} >= {"demo", "replay", "network-camera", "webcam", "two-cameras"}


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_an_example_loads_as_it_is_shipped(file: Path) -> None:
    settings = load(file, SECRETS)
    assert settings.source == file
    assert settings.cameras


def test_the_page_for_owners_has_a_section_and_an_example_for_each_driver(tmp_path: Path) -> None:
    page = DRIVERS_PAGE.read_text("utf-8")
    assert set(re.findall(r"^## (\w+)$", page, re.MULTILINE)) == set(DRIVERS)
    used: set[str] = set()
    examples = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert page.count("```") == 2 * len(examples)
    for number, text in enumerate(examples):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text, "utf-8")
        used |= {camera.driver for camera in load(file, SECRETS).cameras}
    assert used == set(DRIVERS)


def test_what_the_page_for_owners_says_that_drivers_say_is_what_they_say() -> None:
    said = re.findall(r"^\| \*(.+?)\* \|", DRIVERS_PAGE.read_text("utf-8"), re.MULTILINE)
    sources = "".join(file.read_text("utf-8") for file in (PROJECT / "src" / "cupola").rglob("*.py"))
    assert len(said) > 30
    assert [words for words in said if words not in sources] == []


def test_the_network_example_has_separate_live_and_record_sources() -> None:
    settings = load(PROJECT / "examples" / "network-camera.yaml", SECRETS)
    door, yard = (settings.driver_options(camera) for camera in settings.cameras)
    assert door["source"] == "rtsp://viewer:hunter2@192.168.1.20:554/sub"
    assert door["record"] == "rtsp://viewer:hunter2@192.168.1.20:554/main"
    assert yard["source"] == "http://viewer:hunter3@192.168.1.21/video.mjpg"


def test_the_demo_example_is_the_built_in_demo() -> None:
    built_in = Path(cupola.config.__file__).with_name("demo.yaml")
    assert (PROJECT / "examples" / "demo.yaml").read_bytes() == built_in.read_bytes()


def test_every_key_has_a_title_and_a_description_and_every_number_bounds() -> None:
    for path, field in keys(Settings):
        assert field.title, path
        assert field.description, path
        if (
            any(kind in str(field.annotation) for kind in ("int", "float"))
            and block_of(field.annotation) is None
            and "list" not in str(field.annotation)
        ):
            bounds = " ".join(type(bound).__name__ for bound in field.metadata)
            assert "Ge" in bounds or "Gt" in bounds, path


def test_a_key_named_with_a_unit_says_that_unit() -> None:
    units = {"_s": "s", "_deg": "°", "_m": "m", "_mb": "MB", "_percent": "%", "_c": "°C", "_fps": "fps", "_e": "e-"}
    for path, field in keys(Settings):
        suffix = f"_{path.rpartition('_')[2]}"
        if suffix in units and "_" in path.rpartition(".")[2] and not path.endswith("dark_current_e_s"):
            assert fact(field, "unit") == units[suffix], path


def test_the_registry_names_a_block_for_each_driver() -> None:
    (camera,) = demo_settings(PROJECT, {}).cameras
    for name, (options, path) in DRIVERS.items():
        assert block_of(type(camera).model_fields[name].annotation) is options
        assert path.startswith(f"cupola.drivers.{name}:")


def test_the_json_schema_carries_bounds_units_and_titles() -> None:
    schema = json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    exposure = definitions["StillExposure"]["properties"]["exposure_s"]
    assert exposure["anyOf"] == [{"exclusiveMinimum": 0, "maximum": 86400, "type": "number"}, {"type": "null"}]
    assert (exposure["unit"], exposure["title"]) == ("s", "Exposure")
    assert definitions["Web"]["properties"]["port"]["maximum"] == 65535
    assert definitions["Web"]["additionalProperties"] is False
    assert definitions["VideoOptions"]["properties"]["source"]["writeOnly"] is True
    assert set(definitions["Camera"]["properties"]) >= set(DRIVERS)


def test_the_reference_page_is_in_step(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--check", str(PROJECT / "docs" / "configuration.md")]) == 0
    page = tmp_path / "page.md"
    assert main(["--check", str(page)]) == 1
    assert "out of step" in capsys.readouterr().err
    assert main(["--write", str(page)]) == 0
    assert main(["--check", str(page)]) == 0
    assert main([]) == 2


def test_the_reference_page_names_every_key() -> None:
    page = markdown()
    for path, field in keys(Settings):
        name = path.rpartition(".")[2]
        assert f"{name}[]`\n" in page or f"{name}`\n" in page if block_of(field.annotation) else f"| `{name}` |" in page, path


def test_settings_are_shown_with_defaults_and_without_passwords() -> None:
    shown = show_yaml(load(PROJECT / "examples" / "network-camera.yaml", SECRETS))
    tree = yaml.safe_load(shown)
    assert "hunter" not in shown
    assert tree["cameras"][0]["video"]["source"] == "rtsp://***@192.168.1.20:554/sub"
    assert tree["cameras"][0]["video"]["timeout_s"] == 10
    assert "simulator" not in tree["cameras"][0]
    assert tree["web"]["max_viewers"] == 5


def test_what_is_shown_can_be_loaded_again(tmp_path: Path) -> None:
    settings = demo_settings(tmp_path, {})
    again = from_text(show_yaml(settings), "shown.yaml", Path("/elsewhere"))
    assert show(again) == show(settings)


@pytest.mark.parametrize(("name", "latitude", "longitude"), [("north", 47.5, -8), ("123", -90, 180), ("null", 1e-7, 0)])
def test_a_first_configuration_loads_as_it_is(name: str, latitude: float, longitude: float) -> None:
    settings = from_text(initial_yaml(name, latitude, longitude), "cupola.yaml", PROJECT)
    assert (settings.station.name, settings.station.latitude, settings.station.longitude) == (name, latitude, longitude)
    assert [camera.driver for camera in settings.cameras] == ["simulator"]


def test_the_examples_inside_a_first_configuration_load_when_uncommented(tmp_path: Path) -> None:
    lines = initial_yaml("north", 47, 8).splitlines()
    start = next(number for number, line in enumerate(lines) if "A webcam:" in line)
    enabled = [
        line.replace("  # ", "  ", 1) if (number >= start and not line.endswith(":")) or " video:" in line or " replay:" in line else line
        for number, line in enumerate(lines)
    ]
    file = tmp_path / "cupola.yaml"
    file.write_text("\n".join(enabled), "utf-8")
    assert [camera.name for camera in load(file, {"CAMERA_PASSWORD": "x"}).cameras] == ["sky", "window", "door", "replay"]


@pytest.mark.parametrize(
    ("name", "latitude", "said"),
    [
        ("two words", 0.0, "station.name has characters"),
        ("north", 91.0, "station.latitude must be from -90 to 90°, not 91"),
        ("north", float("nan"), "station.latitude"),
    ],
)
def test_a_first_configuration_refuses_what_a_station_cannot_be(name: str, latitude: float, said: str) -> None:
    with pytest.raises(InvalidSetting, match=said) as raised:
        initial_yaml(name, latitude, 0)
    assert raised.value.field == said.split(maxsplit=1)[0]
