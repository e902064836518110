"""Series of stills across a restart of the server."""

from datetime import UTC, datetime
from pathlib import Path

from cupola.capture.session import Request, Sessions
from cupola.core.bus import Bus
from cupola.storage.catalogue import Catalogue
from cupola.storage.rows import FileRow, NewImage

_AT = datetime(2026, 11, 21, 22, 0, tzinfo=UTC)


def _image(sequence: int, session: int) -> NewImage:
    return NewImage("north", sequence, _AT, "2026-11-21", (FileRow("raw", f"north/{sequence}.fits.fz", 10, "00" * 32),), session=session)


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
