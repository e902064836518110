"""Write requirements/*.txt from pyproject.toml: exact versions with the hashes of every file of a release.

One file serves all platforms and Python versions; markers say where a pin applies. No index, no address and
no local folder is recorded or read: uv does not know pip's configuration. `make lock` runs this.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
GROUPS = ("build", "test", "check", "node", "lock")
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin", "x86_64-apple-darwin", "x86_64-pc-windows-msvc")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACOS = "14.0"  # the oldest macOS for which PyAV and OpenCV have wheels


def uv(*arguments: str) -> None:
    """Run the pinned uv of this virtual environment in the project's folder; its output is the message."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("UV_", "PIP_"))}
    environment["MACOSX_DEPLOYMENT_TARGET"] = MACOS
    subprocess.run([sys.executable, "-m", "uv", "--no-config", "--quiet", *arguments], cwd=ROOT, env=environment, check=True)


def lock(name: str, *source: str) -> None:
    """Resolve one requirement file anew; what is also in run.txt gets the version that run.txt has."""
    target = REQUIREMENTS / f"{name}.txt"
    constraint = [] if name == "run" else ["--constraint", "requirements/run.txt"]
    uv(
        "pip", "compile", *source, *constraint, "--universal", "--fork-strategy", "fewest", "--python-version", "3.11",
        "--generate-hashes", "--upgrade", "--no-emit-index-url", "--no-emit-find-links", "--no-header", "--output-file", str(target),
    )  # fmt: skip
    text = target.read_text()
    if "://" in text or "file:" in text:
        raise SystemExit(f"{target} contains an address: remove what asks for it from pyproject.toml")
    target.write_text(f"# Written by `make lock` from pyproject.toml ({name}); do not edit.\n{text}")
    print(f"requirements/{name}.txt: {sum('==' in line for line in text.splitlines())} packages")


def prove_wheels(name: str) -> None:
    """Every pin has a wheel on every platform served, so that nothing is compiled on the owner's machine."""
    with tempfile.TemporaryDirectory() as nowhere:
        for platform in PLATFORMS:
            for python in PYTHONS:
                try:
                    uv(
                        "pip", "install", "--dry-run", "--only-binary", ":all:", "--require-hashes", "--target", nowhere,
                        "--python-platform", platform, "--python-version", python, "--requirement", f"requirements/{name}.txt",
                    )  # fmt: skip
                except subprocess.CalledProcessError:
                    raise SystemExit(f"requirements/{name}.txt: a wheel is missing for {platform}, Python {python} (see above)") from None
    print(f"requirements/{name}.txt: wheels for {', '.join(PLATFORMS)}; Python {', '.join(PYTHONS)}")


if __name__ == "__main__":
    lock("run", "pyproject.toml")
    for group in GROUPS:
        lock(group, "--group", group)
    for served in ("run", "build", "node"):
        prove_wheels(served)
