"""How clips end, and what is noted of it: without a station."""

from __future__ import annotations

import asyncio
import hashlib
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cupola.clips import clips as clips_module
from cupola.clips.clips import Clips
from cupola.clips.recorder import Recorder
from cupola.core.bus import Bus
from cupola.core.events import ClipFailed
from cupola.storage.catalogue import Catalogue


@pytest.mark.parametrize("turns", range(5))
async def test_what_is_cancelled_in_the_moment_its_clip_is_whole_stays_cancelled(turns: int) -> None:
    recorder = Recorder("gate", "door", time.monotonic_ns(), 0.0, 60.0, 60.0, [], lambda *_, **__: None)
    waiting = asyncio.create_task(recorder._time_out())
    await asyncio.sleep(0.01)
    recorder._whole.set()
    for _ in range(turns):  # of the loop, between the last packet and the end of the server
        await asyncio.sleep(0)
    if waiting.cancel():
        await asyncio.wait({waiting}, timeout=5)
        assert waiting.cancelled()


def _state(clips: Clips, number: int) -> str | None:
    row = clips.rows.one(number)
    return row.state if row is not None else None


async def test_the_checksum_that_an_ended_server_still_owed_is_made_at_the_next_start_and_then_the_clip_is_streamed(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"a clip")
    with closing(Catalogue(tmp_path / "catalogue.sqlite")) as catalogue:
        catalogue.streams = True
        clips = Clips(catalogue, Bus(), tmp_path, tmp_path, timezone="UTC", log=lambda *_, **__: None, at_once=1, min_free_percent=0.0)
        row = clips.rows.begin("gate", "door", datetime.now(UTC), {"at": "now"}, 1.0, 1.0)
        clips.rows.update(row.id, state="saved", path="clip.mp4", bytes=6)
        assert [note["what"] for note in catalogue.read("SELECT what FROM to_stream")] == ["clip_saved"], "announced at once"
        await clips.recover()
        async with asyncio.timeout(30):
            while (saved := clips.rows.one(row.id)) is None or saved.sha256 is None:
                await asyncio.sleep(0.01)
        assert saved.sha256 == hashlib.sha256(b"a clip").hexdigest()
        assert [note["what"] for note in catalogue.read("SELECT what FROM to_stream ORDER BY id")] == ["clip_saved", "clip"]
        await clips.close()


async def test_how_a_clip_ended_is_noted_when_a_full_catalogue_has_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips_module, "RETRY_S", 0.05)
    said: list[str] = []
    with closing(Catalogue(tmp_path / "catalogue.sqlite")) as catalogue:
        bus = Bus()
        clips = Clips(
            catalogue, bus, tmp_path, tmp_path, timezone="UTC", log=lambda _, text, **__: said.append(text), at_once=1, min_free_percent=0.0
        )
        row = clips.rows.begin("gate", "door", datetime.now(UTC), {"at": "now"}, 1.0, 1.0)
        with catalogue.writing() as writer:
            (pages,) = writer.execute("PRAGMA page_count").fetchone()
        with catalogue.writing() as writer:
            writer.execute(f"PRAGMA max_page_count = {pages}")
        with bus.subscribe() as heard:
            failing = asyncio.create_task(clips._failed(row, "the camera was stolen. " * 1000))
            async with asyncio.timeout(30):
                while not any("cannot be noted yet" in text for text in said):
                    await asyncio.sleep(0.01)
            assert _state(clips, row.id) == "recording"
            with catalogue.writing() as writer:
                writer.execute("PRAGMA max_page_count = 1000000")
            async with asyncio.timeout(30):
                await failing
            assert _state(clips, row.id) == "failed"
            assert [event.id for event in heard._waiting if isinstance(event, ClipFailed)] == [row.id]
        assert sum("cannot be noted yet" in text for text in said) == 1
