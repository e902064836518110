"""What a user gets: the wheel, in an empty virtual environment, on a machine without Node or a compiler."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

import cupola

ROOT = Path(__file__).resolve().parent.parent
START_LIMIT_S = 30
STOP_LIMIT_S = 10

pytestmark = pytest.mark.timeout(900)


def run(*command: str | Path, **environment: str) -> str:
    """Standard output of a command that has to succeed; what it said becomes the test's message if it does not."""
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=800)
    assert done.returncode == 0, f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    (built,) = folder.glob("cupola-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a fresh environment with the wheel; PATH held nothing else while it was made."""
    home = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", home)
    programs = home / "bin"
    alone = {"PATH": str(programs), "PYTHONPATH": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    pip = (programs / "python", "-m", "pip")
    run(*pip, "install", "--quiet", "--require-hashes", "--only-binary", ":all:", "-r", ROOT / "requirements" / "run.txt", **alone)
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, **alone)
    return programs


def test_wheel_holds_the_built_page_and_its_typing_marker_but_no_build_leftovers(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        page = archive.read("cupola/web/static/index.html").decode()
    assets = re.findall(r'(?:src|href)="\.?/(assets/[^"]+)"', page)
    assert assets, page
    assert {f"cupola/web/static/{asset}" for asset in assets} <= set(names)
    assert "cupola/py.typed" in names
    assert not [name for name in names if "node_modules" in name or name.endswith(".built-from") or name.startswith("ui/")]


def test_pinned_requirements_satisfy_what_the_wheel_declares(installed: Path) -> None:
    assert "No broken requirements" in run(installed / "python", "-m", "pip", "check", PATH=str(installed))


@pytest.mark.parametrize("command", [("cupola",), ("python", "-m", "cupola")])
def test_installed_command_tells_its_version_and_its_commands(installed: Path, command: tuple[str, ...]) -> None:
    program, *rest = command
    alone = {"PATH": str(installed), "PYTHONPATH": ""}
    assert cupola.__version__ in run(installed / program, *rest, "--version", **alone)
    assert re.search(r"\brun\b", run(installed / program, *rest, "--help", **alone))


@contextmanager
def demo(programs: Path, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, Path]]:
    """A demo station in an empty home: its process, its address and what it printed. Killed if it is still there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home, runtime, printed = folder / "home", folder / "runtime", folder / "printed.txt"
    home.mkdir()
    runtime.mkdir(mode=0o700)
    environment = {"PATH": str(programs), "HOME": str(home), "XDG_RUNTIME_DIR": str(runtime), "LANG": "C.UTF-8"}
    with printed.open("wb") as output:
        process = subprocess.Popen(
            [programs / "cupola", "run", "--demo", "--port", str(port)],
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield process, f"http://127.0.0.1:{port}", printed
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=STOP_LIMIT_S)


def wait_until_healthy(process: subprocess.Popen[bytes], url: str, printed: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"cupola run ended with {process.returncode}:\n{printed.read_text()}"
        try:
            if httpx.get(f"{url}/api/health", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.1)  # nothing to wait on from outside: ask again
    pytest.fail(f"/api/health did not answer within {START_LIMIT_S} s:\n{printed.read_text()}")


def test_installed_demo_serves_its_page_and_stops_cleanly_when_asked(installed: Path, tmp_path: Path) -> None:
    with demo(installed, tmp_path) as (process, url, printed):
        wait_until_healthy(process, url, printed)
        page = httpx.get(f"{url}/", timeout=5)
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        scripts = re.findall(r'<script[^>]*\bsrc="([^"]+)"', page.text)
        assert scripts, page.text
        for script in scripts:
            answer = httpx.get(urljoin(f"{url}/", script), timeout=5)
            assert answer.status_code == 200
            assert "javascript" in answer.headers["content-type"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=STOP_LIMIT_S) == 0, printed.read_text()
