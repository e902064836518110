"""A Raspberry Pi for tests: the stand-in camera programs on PATH, and a Python of its own with the stand-in picamera2."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

SUPPORT = Path(__file__).parent
OPTIONS: dict[str, Any] = {
    "index": 0, "backend": "programs", "python": "/usr/bin/python3", "picture": "jpeg", "width": None, "height": None, "fps": 20.0, "quality": 90,
    "white_balance": None, "focus_dioptres": None, "defect_correction": False, "timeout_s": 8.0,
}  # fmt: skip


def install_programs(folder: Path, prefix: str = "rpicam", names: tuple[str, ...] = ("hello", "vid", "raw")) -> dict[str, str]:
    """Put the programs into a folder; the environment in which they are found first, with a camera of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        program = folder / f"{prefix}-{name}"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{SUPPORT / "rpicam.py"}" {name} "$@"\n')
        program.chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "RPICAM_LOCK": str(folder / "camera")}


def other_python(folder: Path, *libraries: str) -> Path:
    """A Python that has the stand-in picamera2 and of this one's libraries only those named: as a Pi's system Python beside a venv."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    packages = Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], check=True, capture_output=True, text=True
        ).stdout.strip()
    )
    (packages / "picamera2.py").symlink_to(SUPPORT / "picamera2_standin" / "picamera2.py")
    ours = [Path(entry) for entry in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *sys.path) if entry]
    for library in libraries:
        for found in {path.name: path for entry in reversed(ours) for path in entry.glob(f"{library}*") if path.suffix != ".dist-info"}.values():
            (packages / found.name).symlink_to(found)
    return python
