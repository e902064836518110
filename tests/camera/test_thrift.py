"""What a camera process still stores on a disk that is nearly full: the storer's real thread, its space as told."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cupola.camera import storer as module
from cupola.camera.orders import Still
from cupola.camera.storer import Storer
from cupola.core.clock import utc_now
from cupola.core.frame import CameraInfo, Controls, Frame, PixelFormat, PixelKind, Station
from cupola.storage.space import Free, Rung, Thrift

LAYOUT = PixelFormat(PixelKind.MONO, bits=12)
INFO = CameraInfo("simulator", "test", 32, 24, LAYOUT, frozenset())


def _still(number: int, *, token: int | None = None) -> Still:
    now = utc_now()
    frame = Frame(number, now, now, time.monotonic_ns(), np.full((24, 32), number, np.uint16), LAYOUT, Controls(0.1))
    return Still(frame, None if token else 1, token)


def _store(
    root: Path, monkeypatch: pytest.MonkeyPatch, percent: float, *, count: int = 8, snap: bool = False, keep: float = 6
) -> list[dict[str, Any]]:
    """What is told of `count` stills of a series, or single ones, while `percent` of the disk are free and 2 are the least."""
    monkeypatch.setattr(module, "free_space", lambda _: Free(int(percent * 1000), percent, 100_000))
    told: list[dict[str, Any]] = []
    outcomes: list[bool] = []
    storer = Storer(
        camera="roof",
        station=Station(),
        root=root / "images",
        queue=root / "queue",
        keep_originals=True,
        thrift=Thrift(2, keep),
        next_sequence=1,
        tell=told.append,
        on_stored=lambda still, ok: outcomes.append(ok),
    )
    storer.opened(INFO)
    for number in range(count):
        storer.offer(_still(number, token=number + 1 if snap else None))
    storer.close()
    storer.run()
    assert len(outcomes) == count, "the exposer is told of every one, and goes on"
    assert [head["sequence"] for head in told if head["type"] == "captured"] == list(range(1, outcomes.count(True) + 1))
    return told


@pytest.mark.parametrize(
    ("percent", "rung"),
    [(50.0, "all"), (5.9, "all"), (5.0, "all"), (4.9, "no_originals"), (4.0, "no_originals"), (3.9, "every_2nd"), (2.9, "every_4th"), (1.9, "none")],
)
def test_less_and_less_is_stored_the_less_is_free(percent: float, rung: Rung) -> None:
    assert Thrift(2, 6).rung(percent) == rung


@pytest.mark.parametrize(("percent", "rung"), [(50.0, "all"), (2.0, "all"), (1.9, "none")])
def test_without_deleting_only_the_last_rung_is_left(percent: float, rung: Rung) -> None:
    assert Thrift(2, 0).rung(percent) == rung


def test_originals_are_left_out_first_then_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for percent, kind, stored in ((9.0, "raw", 8), (4.5, "queue", 8), (3.5, "queue", 4), (2.5, "queue", 2)):
        told = _store(tmp_path / str(percent), monkeypatch, percent)
        assert [head["type"] for head in told] == ["captured"] * stored, percent
        assert {head["file"]["kind"] for head in told} == {kind}


def test_a_single_still_that_was_asked_for_is_never_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len([head for head in _store(tmp_path, monkeypatch, 2.5, snap=True) if head["type"] == "captured"]) == 8


def test_at_the_least_free_space_nothing_is_stored_and_each_still_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = _store(tmp_path, monkeypatch, 1.5, count=2)
    assert [(head["type"], head["kind"]) for head in told] == [("failed", "storage_full")] * 2
    assert "storage.min_free_percent" in told[0]["message"]
    assert not (tmp_path / "images").exists()
