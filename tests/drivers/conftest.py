"""Writes down on what the contract of each driver was kept: ran.json, with which the table of drivers in README has to agree.

`@pytest.mark.tried(driver, use, on)` names the row that a class of the contract stands for. A row is written when all its tests passed,
and taken out when one failed; where some did not run (skipped, or picked by name) it stays as it was. No times, no counts: the
file changes only when the truth does. `tools/check_docs.py` compares.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

RAN = Path(__file__).parent / "ran.json"
PICKED = ("keyword", "markexpr", "lf", "deselect")

Key = tuple[str, str, str]  # driver, use, on


class _Tried:
    def __init__(self) -> None:
        self.rows: dict[Key, set[str]] = {}  # the tests of each
        self.passed, self.failed = set[str](), set[str]()

    def collect(self, items: list[pytest.Item]) -> None:
        for item in items:
            marks = [mark.args for node in item.listchain() for mark in node.own_markers if mark.name == "tried"]
            if marks:
                driver, use, on = marks[-1]  # of a class that inherits one, its own
                self.rows.setdefault((driver, use, on), set()).add(item.nodeid)

    def saw(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)
        elif report.when == "call" and report.passed:
            self.passed.add(report.nodeid)

    def after(self, before: list[dict[str, object]]) -> list[dict[str, object]]:
        """What the file says after this run."""
        said = {(str(row["driver"]), str(row["use"]), str(row["on"])): row for row in before}
        for key, tests in self.rows.items():
            if tests & self.failed:
                said.pop(key, None)
            elif tests <= self.passed:
                files = sorted({test.partition("::")[0] for test in tests})
                said[key] = {"driver": key[0], "use": key[1], "on": key[2], "tests": files}
        return [said[key] for key in sorted(said)]


_tried = _Tried()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "tried(driver, use, on): the row of the table of drivers that this shows; on: hardware, simulator, stand-in")


def pytest_collection_finish(session: pytest.Session) -> None:
    _tried.collect(session.items)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _tried.saw(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    options = session.config
    if any(options.getoption(name, None) for name in PICKED) or any("::" in argument for argument in options.args):
        return
    before = json.loads(RAN.read_text("utf-8")) if RAN.exists() else []
    after = _tried.after(before)
    if after != before:
        RAN.write_text(json.dumps(after, indent=1, ensure_ascii=False) + "\n", "utf-8")
