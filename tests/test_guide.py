"""The guide for authors of drivers: its blocks, put where it says into a copy of the project, make a driver that works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cupola.config.drivers import DRIVERS
from cupola.core.frame import Controls, PixelKind
from cupola.storage.originals import read_original
from tests.support.station import cupola, free_port, station_at

PROJECT = Path(__file__).parents[1]
GUIDE = PROJECT / "docs" / "write-a-driver.md"
COPIED = ("src", "tests", "docs", "examples", "tools", "README.md", "pyproject.toml", "ui/openapi.json")
pytestmark = pytest.mark.timeout(240)  # a whole run of pytest in one test
NOT_COPIED = shutil.ignore_patterns("__pycache__", "static")

_FENCE = re.compile(r"^(?P<fence>`{3,})(?P<language>\w*)(?P<facts>[^\n`]*)\n(?P<text>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of the guide, and where it goes: a file of its own, a place in one that is there, or the end of a page."""

    path: str
    text: str
    before: str | None
    after: str | None


def blocks() -> list[Block]:
    found: list[Block] = []
    for match in _FENCE.finditer(GUIDE.read_text("utf-8")):
        facts = dict(re.findall(r'(\w+)="([^"]*)"', match["facts"]))
        assert "title" in facts, f"a block of the guide that nobody runs: {match['text'][:80]}"
        found.append(Block(facts["title"], match["text"], facts.get("before"), facts.get("after")))
    return found


def put(block: Block, project: Path) -> None:
    file = project / block.path
    if block.before is None and block.after is None:
        file.parent.mkdir(parents=True, exist_ok=True)
        there = file.read_text("utf-8") if file.exists() else ""
        file.write_text(there + block.text, "utf-8")
        return
    mark = block.before or block.after or ""
    lines = file.read_text("utf-8").splitlines(keepends=True)
    (at,) = (number for number, line in enumerate(lines) if line.startswith(mark))
    lines.insert(at if block.before else at + 1, block.text)
    file.write_text("".join(lines), "utf-8")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of Cupola in which somebody followed the guide."""
    copy = tmp_path_factory.mktemp("guide")
    for name in COPIED:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, copy / name, ignore=NOT_COPIED)
        else:
            shutil.copy(PROJECT / name, copy / name)
    for block in blocks():
        put(block, copy)
    return copy


def own_modules(project: Path, *more: Path) -> str:
    return os.pathsep.join(str(folder) for folder in (project / "src", project, *more))


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in the copy, with the copy's code."""
    environment = {**os.environ, "PYTHONPATH": own_modules(project)}
    return subprocess.run([sys.executable, *arguments], cwd=project, env=environment, capture_output=True, text=True, timeout=220)


def test_the_guide_touches_the_files_it_names_and_no_others() -> None:
    named = {block.path for block in blocks()}
    assert named == {
        "src/cupola/drivers/pinhole.py",
        "src/cupola/config/drivers.py",
        "src/cupola/config/matrix.py",
        "tests/support/pinhole_standin/pinhole.py",
        "tests/drivers/test_pinhole.py",
        "docs/drivers.md",
    }
    assert "pinhole" not in DRIVERS
    assert {path for path in named if (PROJECT / path).exists()} == {
        "src/cupola/config/drivers.py",
        "src/cupola/config/matrix.py",
        "docs/drivers.md",
    }


@pytest.fixture(scope="module")
def contract(project: Path) -> subprocess.CompletedProcess[str]:
    """The guide's test has run, and written down on what."""
    return run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/drivers/test_pinhole.py")


def test_the_driver_of_the_guide_keeps_the_contract(contract: subprocess.CompletedProcess[str]) -> None:
    done = contract
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) > 20


@pytest.mark.usefixtures("contract")
def test_nothing_else_has_to_be_touched_for_it(project: Path) -> None:
    """What the other tests demand of every driver holds, once the generated documents are made anew."""
    written = run(project, "tools/check_docs.py", "--write")
    assert written.returncode == 0, written.stderr
    assert "docs/configuration.md: written" in written.stdout and "README.md: written" in written.stdout
    assert "ui/openapi.json" not in written.stdout
    matrix = "tests/camera/test_discovery.py::test_the_matrix_has_every_driver_and_says_what_met_no_hardware"
    done = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/config/test_schema.py", "tests/config/test_problems.py", matrix)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def pinhole_camera(project: Path) -> Iterator[int]:
    """The guide's camera, as a process of its own; its port."""
    device = subprocess.Popen([sys.executable, str(project / "tests/support/pinhole_standin/pinhole.py")], stdout=subprocess.PIPE, text=True)
    try:
        assert device.stdout is not None
        yield int(device.stdout.readline())
    finally:
        device.kill()
        device.communicate()


def test_a_station_with_the_guides_configuration_takes_a_still(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (section,) = (block.text for block in blocks() if block.path == "docs/drivers.md")
    (example,) = (match["text"] for match in _FENCE.finditer(section) if match["language"] == "yaml")
    (tmp_path / "home").mkdir()
    with pinhole_camera(project) as port:
        config = example.replace("port: 7700", f"port: {port}")
        assert config != example
        (tmp_path / "cupola.yaml").write_text(f"{config}storage: {{root: images, min_free_percent: 0}}\nweb: {{port: {free_port()}}}\n", "utf-8")
        monkeypatch.setenv("PYTHONPATH", own_modules(project, project / "tests/support/pinhole_standin"))
        monkeypatch.setenv("PINHOLE_PORTS", str(port))
        with station_at(tmp_path, "--config", "cupola.yaml") as printed:
            for command in (("connect", "hole"), ("snap", "hole", "-o", "still.jpg")):
                done = cupola(tmp_path, *command)
                assert done.returncode == 0, done.stdout + done.stderr + printed.read_text()
            seen = cupola(tmp_path, "cameras")
            assert "1a2b" in seen.stdout and "not yet tried on hardware" in seen.stdout, seen.stdout
    assert (tmp_path / "still.jpg").read_bytes().startswith(b"\xff\xd8")
    (file,) = (tmp_path / "images" / "hole").rglob("*.fits.fz")
    original = read_original(file)
    assert original.data.shape == (48, 64)
    assert (original.facts.format.kind, original.facts.format.bits, original.facts.format.bayer) == (PixelKind.BAYER, 12, "RGGB")
    assert original.facts.applied == Controls(exposure_s=0.5, gain=20)
