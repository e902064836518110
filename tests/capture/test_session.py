"""Series of stills across a restart of the server."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cupola.capture.session import Request, Sessions
from cupola.core.bus import Bus
from cupola.core.clock import utc_now
from cupola.storage.catalogue import Catalogue
from cupola.storage.rows import FileRow, NewImage

_AT = datetime(2026, 11, 21, 22, 0, tzinfo=UTC)


def _image(sequence: int, session: int, opened_at: datetime = _AT) -> NewImage:
    return NewImage("north", sequence, opened_at, "2026-11-21", (FileRow("raw", f"north/{sequence}.fits.fz", 10, "00" * 32),), session=session)


async def test_a_series_whose_last_image_was_committed_before_the_server_was_killed_is_finished(tmp_path: Path) -> None:
    with Catalogue(tmp_path / "catalogue.sqlite") as catalogue:
        full = await Sessions(catalogue, Bus()).start("north", Request(count=2))
        for sequence in (1, 2):
            catalogue.add_image(_image(sequence, full.id))
        sessions = Sessions(catalogue, Bus())
        assert await sessions.resume({"north"}) == []
        assert sessions.of("north") is None
        assert catalogue.running_sessions() == []
        ended = catalogue.session(full.id)
        assert ended is not None and ended.state == "finished"


async def test_a_series_with_stills_to_take_goes_on_where_it_was(tmp_path: Path) -> None:
    with Catalogue(tmp_path / "catalogue.sqlite") as catalogue:
        begun = await Sessions(catalogue, Bus()).start("north", Request(count=2))
        catalogue.add_image(_image(1, begun.id))
        resumed = await Sessions(catalogue, Bus()).resume({"north"})
        assert [(session.id, session.plan().remaining) for session in resumed] == [(begun.id, 1)]


async def test_a_series_with_an_interval_keeps_the_grid_of_its_first_image(tmp_path: Path) -> None:
    """However long the server was away, and though the last image was opened off the grid, after an interruption."""
    interval_s = 3600.0
    with Catalogue(tmp_path / "catalogue.sqlite") as catalogue:
        begun = await Sessions(catalogue, Bus()).start("north", Request(interval_s=interval_s))
        assert begun.plan().first_at_s is None, "the first one now"
        first = utc_now() - timedelta(seconds=4.25 * interval_s)
        for sequence, after_s in ((1, 0.0), (2, 1.0 * interval_s), (3, 1.5 * interval_s)):
            catalogue.add_image(_image(sequence, begun.id, first + timedelta(seconds=after_s)))
        (resumed,) = await Sessions(catalogue, Bus()).resume({"north"})
        due = resumed.plan().first_at_s
        assert due is not None and due - time.monotonic() == pytest.approx(0.75 * interval_s, abs=30)


async def test_the_grid_of_a_running_series_is_that_of_the_first_image_stored(tmp_path: Path) -> None:
    with Catalogue(tmp_path / "catalogue.sqlite") as catalogue:
        sessions = Sessions(catalogue, Bus())
        begun = await sessions.start("north", Request(interval_s=3600.0))
        first = utc_now() - timedelta(seconds=1800)
        for after_s in (0.0, 900.0):
            await sessions.stored("north", begun.id, first + timedelta(seconds=after_s))
        due = begun.plan().first_at_s
        assert due is not None and due - time.monotonic() == pytest.approx(1800, abs=30)
