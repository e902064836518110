"""The stand-in for ZWO's library, compiled, and cameras on it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cupola.config.drivers import ZwoOptions
from cupola.core.frame import Controls, Frame, Station
from cupola.drivers.zwo import Zwo

SOURCE = Path(__file__).parents[1] / "support" / "fake_asi.c"
SERIALS = tuple(f"1f2e1105000009{slot + 1:02d}" for slot in range(4))  # of the slots


def compiled(folder: Path, *more: str) -> Path:
    library = folder / "libASICamera2.so"
    subprocess.run(["cc", "-O2", "-Wall", "-shared", "-fPIC", *more, "-o", str(library), str(SOURCE), "-lm"], check=True)
    return library


@dataclass
class Bench:
    """A library, its faults, and the folder that outlives processes."""

    library: Path
    state: Path
    patch: pytest.MonkeyPatch
    cameras: list[Zwo] = field(default_factory=list[Zwo])

    def set(self, **faults: object) -> None:
        """`readout_ms=50` sets FAKE_ASI_READOUT_MS; None takes it back."""
        for name, value in faults.items():
            if value is None:
                self.patch.delenv(f"FAKE_ASI_{name.upper()}", raising=False)
            else:
                self.patch.setenv(f"FAKE_ASI_{name.upper()}", str(value))

    def options(self, **given: Any) -> dict[str, Any]:
        return ZwoOptions(library=self.library, **given).model_dump(mode="json")

    def camera(self, **given: Any) -> Zwo:
        self.cameras.append(Zwo(self.options(**given), Station()))
        return self.cameras[-1]

    def unplug(self, slot: int = 0) -> None:
        (self.state / f"{slot}.unplugged").touch()

    def plug(self, slot: int = 0) -> None:
        (self.state / f"{slot}.unplugged").unlink()

    @property
    def exposures(self) -> int:
        """How many were begun in slot 0, by whatever process."""
        path = self.state / "0.exposures"
        return path.stat().st_size if path.exists() else 0


def make_bench(folder: Path, library: Path, patch: pytest.MonkeyPatch) -> Bench:
    state = folder / "asi"
    state.mkdir()
    for name in [name for name in os.environ if name.startswith("FAKE_ASI_")]:
        patch.delenv(name)
    patch.setenv("FAKE_ASI_STATE", str(state))
    patch.setenv("CUPOLA_RUNTIME_DIR", str(folder))
    return Bench(library, state, patch)


def marks(frame: Frame) -> tuple[int, Controls, int]:
    """What the pixels themselves say: number of the exposure, settings, slot."""
    flat = np.asarray(frame.data).reshape(-1)[:9].astype(int) >> (8 if frame.data.dtype == np.uint16 else 0)
    number, exposure_us = flat[0] + 256 * flat[1], flat[2] + 256 * (flat[3] + 256 * (flat[4] + 256 * flat[5]))
    return int(number), Controls(exposure_s=int(exposure_us) / 1e6, gain=float(flat[6] + 256 * flat[7])), int(flat[8])
