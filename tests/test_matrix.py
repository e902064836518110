"""The table of drivers says what the contract really ran on."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tools.check_docs import ROOT, unproven

from tests.drivers.conftest import RAN, _Tried

KEY = ("zwo", "", "stand-in")
ROW: dict[str, object] = {"driver": "zwo", "use": "", "on": "stand-in", "tests": ["tests/drivers/test_zwo_contract.py"]}
TESTS = [f"tests/drivers/test_zwo_contract.py::TestVideo::test_{name}" for name in ("opens", "closes")]


def run(*outcomes: str) -> _Tried:
    """A run of the two tests, with these outcomes of their calls."""
    tried = _Tried()
    marks = [SimpleNamespace(name="tried", args=args) for args in (("of a class it inherits from", "", "stand-in"), KEY)]
    chain = [SimpleNamespace(own_markers=[]), SimpleNamespace(own_markers=marks), SimpleNamespace(own_markers=[])]
    items: list[Any] = [SimpleNamespace(nodeid=test, listchain=lambda: chain) for test in TESTS]
    tried.collect(items)
    for test, outcome in zip(TESTS, outcomes, strict=False):
        report: Any = SimpleNamespace(nodeid=test, when="call", failed=outcome == "failed", passed=outcome == "passed")
        tried.saw(report)
    return tried


def test_a_row_is_written_when_all_passed_and_taken_out_when_one_failed() -> None:
    assert run("passed", "passed").after([]) == [ROW]
    assert run("passed", "passed").after([ROW]) == [ROW]
    assert run("passed", "failed").after([ROW]) == []


def test_what_did_not_run_proves_nothing_either_way() -> None:
    for outcomes in (("passed", "skipped"), ("passed",), ()):
        assert run(*outcomes).after([]) == []
        assert run(*outcomes).after([ROW]) == [ROW]


def test_the_table_agrees_with_the_last_run_and_a_difference_is_told(tmp_path: Path) -> None:
    assert unproven(ROOT) == []
    copy = tmp_path / RAN.relative_to(ROOT)
    copy.parent.mkdir(parents=True)
    rows = json.loads(RAN.read_text("utf-8"))
    copy.write_text(json.dumps([row for row in rows if row["driver"] != "zwo"] + [{"driver": "qhy", "use": "", "on": "simulator", "tests": []}]))
    missing, too_many = unproven(tmp_path)
    assert "zwo was tried on a stand-in" in missing and "run pytest tests/drivers" in missing
    assert "qhy was tried on a simulator" in too_many
