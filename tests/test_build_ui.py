"""tools/build_ui.py builds when it must, and only then, with a Node that Vite runs on."""

import importlib.util
import json
import os
import shutil
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).resolve().parent.parent / "tools" / "build_ui.py"

# Stands in for Vite: writes a page that tells how often it was built and from what.
BUILD_SCRIPT = """
const fs = require("fs"), out = "../src/cupola/web/static";
const count = fs.existsSync("node_modules/count") ? Number(fs.readFileSync("node_modules/count")) + 1 : 1;
fs.writeFileSync("node_modules/count", String(count));
fs.mkdirSync(out, { recursive: true });
fs.writeFileSync(out + "/index.html", count + " " + fs.readFileSync("page.txt"));
"""


@pytest.fixture
def build_ui() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_ui", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project(tmp_path: Path) -> Path:
    ui = tmp_path / "ui"
    ui.mkdir()
    (ui / "package.json").write_text(
        json.dumps({"name": "page", "version": "1.0.0", "scripts": {"build": "node build.cjs", "fail": "node -e 'process.exit(3)'"}})
    )
    (ui / "package-lock.json").write_text(
        json.dumps({"name": "page", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": {"name": "page", "version": "1.0.0"}}})
    )
    (ui / "build.cjs").write_text(BUILD_SCRIPT)
    (ui / "page.txt").write_text("first")
    return tmp_path


def page(project: Path) -> str:
    return (project / "src/cupola/web/static/index.html").read_text()


@pytest.mark.parametrize(
    ("version", "usable"),
    [
        ("v20.18.9\n", False),
        ("v20.19.0\n", True),
        ("v21.9.0\n", False),
        ("v22.11.0\n", False),
        ("v22.12.0\n", True),
        ("v24.0.0-rc.1\n", True),
        ("v9.0.0\n", False),
        ("", False),
        ("not a version", False),
    ],
)
def test_node_is_used_only_in_versions_that_vite_supports(build_ui: ModuleType, version: str, usable: bool) -> None:
    assert build_ui.new_enough(version) is usable


def test_second_build_of_the_same_sources_does_nothing(build_ui: ModuleType, project: Path) -> None:
    assert build_ui.build(project) is True
    assert page(project) == "1 first"
    for path in (project / "ui").iterdir():
        os.utime(path)  # a checkout gives new times to old contents
    assert build_ui.build(project) is False
    assert page(project) == "1 first"


def test_changed_added_and_removed_sources_are_built_again(build_ui: ModuleType, project: Path) -> None:
    build_ui.build(project)
    (project / "ui/page.txt").write_text("second")
    assert build_ui.build(project) is True
    assert page(project) == "2 second"
    (project / "ui/more.txt").touch()
    assert build_ui.build(project) is True
    (project / "ui/more.txt").unlink()
    assert build_ui.build(project) is True


def test_build_that_was_cut_short_is_made_up_for(build_ui: ModuleType, project: Path) -> None:
    build_ui.build(project)
    (project / "src/cupola/web/static/.built-from").unlink()
    assert build_ui.build(project) is True
    shutil.rmtree(project / "src")
    assert build_ui.build(project) is True


def test_failing_script_of_the_ui_is_named_with_its_exit_status(build_ui: ModuleType, project: Path) -> None:
    with pytest.raises(build_ui.BuildError, match=r"npm run --silent fail.* ended with 3"):
        build_ui.run_script("fail", project)


def test_missing_ui_sources_are_named(build_ui: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(build_ui.BuildError, match="sources of the web UI are missing"):
        build_ui.build(tmp_path)


def test_node_without_npm_counts_as_none(build_ui: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = tmp_path / "node"
    node.write_text("#!/bin/sh\necho v24.0.0\n")
    node.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build_ui.system_node() is None


def test_old_node_of_the_system_is_passed_over(build_ui: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("node", "npm"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\necho v18.20.4\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build_ui.system_node() is None
    program = tmp_path / "node"
    program.write_text("#!/bin/sh\necho v22.12.0\n")
    assert build_ui.system_node() == (tmp_path, (str(tmp_path / "npm"),))


def test_node_comes_from_the_pinned_wheel_where_the_system_has_none(build_ui: ModuleType, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = project / "programs"
    programs.mkdir()
    (programs / "sh").symlink_to("/bin/sh")  # npm runs scripts with it
    monkeypatch.setenv("PATH", str(programs))
    assert build_ui.system_node() is None
    assert build_ui.build(project) is True
    assert page(project) == "1 first"
