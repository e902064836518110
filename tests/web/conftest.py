"""One station for all tests of HTTP and WebSocket, and sockets to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from tests.support.station import RunningStation, eventually, running_station


@pytest.fixture(scope="session")
def whole_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStation]:
    """Fails at its end if any request, whatever it was, met a mistake of the server's."""
    with running_station(tmp_path_factory.mktemp("station"), max_viewers=3) as station:
        yield station
    assert station.process.returncode == 0
    text = (station.folder / "output").read_text() + (station.folder / "logs" / "cupola-error.log").read_text()
    assert "Traceback" not in text and " failed: " not in text, text


@pytest.fixture
def station(whole_session: RunningStation) -> RunningStation:
    """The station with its camera open, no series, and nobody watching."""
    whole_session.open()
    eventually(lambda: whole_session.http.get("/api/health").json()["viewers"] == 0)
    return whole_session


@pytest.fixture
async def sockets(station: RunningStation) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of another make than the server's; it speaks both HTTP and WebSocket."""
    async with aiohttp.ClientSession(station.url, headers=station.owner, timeout=aiohttp.ClientTimeout(total=30)) as session:
        yield session
