"""A camera process under another interpreter: one that has numpy, a JPEG encoder and picamera2 (a stand-in), and none of the server's libraries."""

import asyncio
from pathlib import Path

import pytest
from tests.camera.conftest import Make
from tests.support.pi import OPTIONS, other_python

from cupola.core.errors import CupolaError
from cupola.core.frame import Controls


async def test_picamera2_runs_under_the_python_that_has_it(rig: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = other_python(tmp_path / "system", "numpy", "simplejpeg")
    monkeypatch.setenv("PICAMERA2_LOCK", str(tmp_path / "lock"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    options = {**OPTIONS, "backend": "picamera2", "fps": 10.0}
    async with rig("cupola.drivers.picamera:PiCamera", interpreter=str(python), **options) as it:
        await it.until(lambda: it.camera.info is not None)
        assert it.camera.info.model == "imx477"
        running = Path(f"/proc/{it.camera._child.pid}")
        assert (running / "cmdline").read_bytes().split(b"\0")[0] == str(python).encode()
        assert "pydantic" not in (running / "maps").read_text()
        it.camera.request("still", Controls(exposure_s=0.1, gain=4.0))
        async with asyncio.timeout(15):
            await it.camera.snap(None)
        (row,) = it.archive.rows
        assert row["applied"]["exposure_s"] == pytest.approx(0.1, abs=0.001)
        assert row["file"]["path"].endswith(".jpg")


async def test_an_interpreter_that_is_not_there_is_said(rig: Make, tmp_path: Path) -> None:
    async with rig("cupola.drivers.picamera:PiCamera", interpreter=str(tmp_path / "python3"), **OPTIONS) as it:
        await it.until(lambda: it.camera.problem is not None)
        assert "python3" in it.camera.problem.message


async def test_a_python_without_picamera2_is_said(rig: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = other_python(tmp_path / "system", "numpy")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    (next((tmp_path / "system" / "lib").glob("python*/site-packages")) / "picamera2.py").unlink()
    async with rig("cupola.drivers.picamera:PiCamera", interpreter=str(python), **{**OPTIONS, "backend": "picamera2"}) as it:
        await it.until(lambda: it.camera.problem is not None)
        assert "apt install python3-picamera2" in it.camera.problem.message


async def test_what_a_python_lacks_for_an_image_is_said_and_the_camera_stays(rig: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = other_python(tmp_path / "system", "numpy")
    monkeypatch.setenv("PICAMERA2_LOCK", str(tmp_path / "lock"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    options = {**OPTIONS, "backend": "picamera2", "picture": "raw"}
    async with rig("cupola.drivers.picamera:PiCamera", interpreter=str(python), **options) as it:
        await it.until(lambda: it.camera.info is not None)
        for _ in range(2):
            with pytest.raises(CupolaError, match="apt install python3-astropy"):
                await asyncio.wait_for(it.camera.snap(0.05), 10)
        assert it.camera.restarts == 0
