"""A server put together and not started."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cupola.app import App
from cupola.config.load import load


async def test_generations_rise_with_each_start_whatever_the_clock_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUPOLA_RUNTIME_DIR", str(tmp_path / "runtime"))
    (tmp_path / "cupola.yaml").write_text(
        "storage: {root: images, reserve_mb: 1}\nlogging: {folder: logs}\ncameras: [{name: sky, driver: simulator, connect: false}]\n"
    )
    seen: list[tuple[int, int]] = []
    for _ in range(3):  # within one second
        with socket.create_server(("127.0.0.1", 0)) as sock:
            app = App(load(tmp_path / "cupola.yaml", {}), sock, lambda link: None)
            seen.append(app.cameras["sky"].settings.still.generation)
            for listening in app._sockets:
                listening.close()
            app.desk.close()
            app.catalogue.close()
    assert seen == [(1, 0), (2, 0), (3, 0)]
