"""Files of other versions: older ones are brought up, newer ones refused in words."""

from pathlib import Path

import pytest

from cupola.config.document import Document, parse
from cupola.config.load import from_text
from cupola.config.model import Settings
from cupola.config.problems import ConfigProblems
from cupola.config.schema import initial_yaml, show_yaml
from cupola.config.version import STEPS, VERSION, bring_up


def problems(text: str, values: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigProblems) as caught:
        from_text(text, "cupola.yaml", Path(), values)
    return [str(problem) for problem in caught.value.problems]


def test_a_file_without_a_version_is_of_the_first_and_a_new_file_says_its_own() -> None:
    assert from_text("station: {name: north}\n", "cupola.yaml", Path()).version == VERSION
    assert f"version: {VERSION} " in initial_yaml("north", 47, 8)
    assert f"version: {VERSION}\n" in show_yaml(Settings())


def test_every_version_before_this_one_has_its_step() -> None:
    assert sorted(STEPS) == list(range(1, VERSION))


def test_a_file_of_a_newer_version_is_refused_with_what_to_do_and_no_other_problem() -> None:
    (told,) = problems(f"station:\n  nmae: ${{NOWHERE}}\nversion: {VERSION + 1}\nskies: []\n", {})
    assert told.startswith(f"cupola.yaml:3: version: is {VERSION + 1}, of a newer Cupola") and "update Cupola" in told


@pytest.mark.parametrize("written", ["0", "-1", "1.5", "true", "null", "one", "[1]"])
def test_what_is_no_version_is_a_problem_of_its_line(written: str) -> None:
    (told,) = problems(f"\nversion: {written}\n")
    assert told.startswith("cupola.yaml:2: version: must be ")


def _rename(document: Document) -> None:
    station = document.data.get("station") or {}
    if "title" in station:
        station["name"] = station.pop("title")
        document.origins["station", "name"] = document.origins.pop(("station", "title"))


def _split(document: Document) -> None:
    if "port" in document.data:
        document.data["web"] = {"port": document.data.pop("port")}


@pytest.mark.parametrize("text", ["station: {title: north}\nport: 8100\n", "version: 2\nstation: {name: north}\nport: 8100\n"])
def test_an_older_file_goes_through_each_step_from_its_own_on(text: str) -> None:
    document = parse(text, "cupola.yaml")
    bring_up(document, {1: _rename, 2: _split}, 3)
    assert document.data == {"version": 3, "station": {"name": "north"}, "web": {"port": 8100}}


def test_what_is_wrong_in_an_older_file_is_told_with_the_line_it_has_there_and_variables_have_todays_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def brought_up(document: Document) -> None:
        """As if the version after this one had been made, and its model were today's."""
        bring_up(document, {**STEPS, VERSION: _rename}, VERSION + 1)
        document.data["version"] = VERSION

    monkeypatch.setattr("cupola.config.load.bring_up", brought_up)
    (told,) = problems("station:\n  latitude: 47\n  title: no name\n")
    assert told.startswith("cupola.yaml:3: station.name: ")
    assert from_text("station: {title: north}\n", "cupola.yaml", Path(), {"CUPOLA_STATION__NAME": "south"}).station.name == "south"
