"""The journal of what waits for receivers: what it keeps, and what becomes of a damaged one."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.ext4 import Disk, missing_feature

from cupola.core.errors import StorageFailed, StorageFull
from cupola.stream.format import Id
from cupola.stream.spool import Spool


def payloads(spool: Spool, sequence: int = 1) -> list[bytes]:
    return [entry.payload for entry in spool.read(sequence)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if why := missing_feature():
        pytest.skip(why)
    with Disk(tmp_path, 2).mounted() as mounted:
        yield mounted


def segment(folder: Path, number: int = -1) -> Path:
    return sorted(folder.glob("*.seg"))[number]


def test_what_was_appended_is_there_after_reopening_in_order_with_its_ids(folder: Path) -> None:
    with Spool(folder, segment_bytes=200) as spool:
        assert spool.append([(b"one", 1), (b"three", 3)]) == 1
        for number in range(20):
            spool.append([(b"%d" % number * 10, 1)])
    with Spool(folder) as spool:
        assert spool.found == []
        assert len(sorted(folder.glob("*.seg"))) > 3
        assert payloads(spool) == [b"one", b"three", *(b"%d" % number * 10 for number in range(20))]
        assert [entry.sequence for entry in spool.read(1)][:3] == [1, 2, 5]
        assert (spool.next, spool.depth, spool.id_of(spool.next - 1)) == (25, 24, Id(1, 24))


def test_reading_begins_at_the_record_that_holds_a_sequence(folder: Path) -> None:
    with Spool(folder, segment_bytes=100) as spool:
        spool.append([(b"a", 2), (b"b", 3), (b"c", 1)])
        spool.append([(b"d", 1)])
        for sequence, rest in ((1, b"abcd"), (2, b"abcd"), (4, b"bcd"), (6, b"cd"), (7, b"d"), (8, b"")):
            assert b"".join(payloads(spool, sequence)) == rest, sequence


def test_a_reader_gets_what_is_appended_while_it_reads(folder: Path) -> None:
    with Spool(folder, segment_bytes=64) as spool:
        spool.append([(b"first", 1)])
        reader = spool.read(1)
        assert next(reader).payload == b"first"
        for number in range(9):
            spool.append([(b"%d" % number, 1)])
        assert b"".join(entry.payload for entry in reader) == b"012345678"


def test_what_is_freed_stays_freed_and_its_segments_go(folder: Path) -> None:
    with Spool(folder, segment_bytes=100) as spool:
        for _ in range(10):
            spool.append([(b"x" * 90, 1)])
        spool.free(7)
        assert (spool.depth, len(list(folder.glob("*.seg")))) == (3, 3)
        assert spool.bytes == 3 * (90 + 28)
        spool.free(3)
        assert spool.freed == 7
    with Spool(folder) as spool:
        assert (spool.freed, spool.next, len(payloads(spool, spool.freed + 1))) == (7, 11, 3)
        spool.free(10)
        assert spool.oldest_s is None
    with Spool(folder) as spool:
        assert (spool.depth, spool.next) == (0, 11)
        assert spool.bytes == 0
        assert spool.append([(b"on", 1)]) == 11
        assert 2 < spool.bytes < 100


def test_a_torn_tail_is_cut_off_and_told_and_what_counted_is_kept(folder: Path) -> None:
    with Spool(folder) as spool:
        spool.append([(b"whole", 1), (b"also", 1)])
    path = segment(folder)
    whole = path.read_bytes()
    for torn in (whole[:10], whole[: len(whole) // 2 - 1], b"\xff" * 40, bytes(100)):
        path.write_bytes(whole + torn)
        with Spool(folder) as spool:
            assert payloads(spool) == [b"whole", b"also"]
            assert [f"{len(torn)} bytes of {path}" in told for told in spool.found] == [True]
            assert path.read_bytes() == whole
    with Spool(folder) as spool:
        assert spool.append([(b"on", 1)]) == 3
    with Spool(folder) as spool:
        assert payloads(spool) == [b"whole", b"also", b"on"]


def test_every_cut_of_the_last_write_leaves_the_records_before_it(folder: Path) -> None:
    with Spool(folder) as spool:
        spool.append([(b"first", 1)])
        kept = segment(folder).stat().st_size
        spool.append([(b"second", 1)])
    whole = segment(folder).read_bytes()
    for size in range(kept, len(whole)):
        segment(folder).write_bytes(whole[:size])
        with Spool(folder) as spool:
            assert payloads(spool) == [b"first"], size


def test_damage_in_the_middle_is_told_with_what_it_cost(folder: Path) -> None:
    with Spool(folder, segment_bytes=100) as spool:
        for number in range(6):
            spool.append([(b"%d" % number * 60, 1)])
    first = segment(folder, 0)
    data = bytearray(first.read_bytes())
    data[-1] ^= 1
    first.write_bytes(data)
    with Spool(folder) as spool:
        assert [told for told in spool.found if "1 records" in told and "lost" in told]
        assert b"".join(payloads(spool)) == b"".join(b"%d" % number * 60 for number in (0, 2, 3, 4, 5))
        assert spool.next == 7


def test_a_deleted_segment_is_told(folder: Path) -> None:
    with Spool(folder, segment_bytes=50) as spool:
        for number in range(4):
            spool.append([(b"%d" % number * 60, 1)])
    segment(folder, 0).unlink()
    with Spool(folder) as spool:
        assert any("deleted" in told for told in spool.found)
        assert payloads(spool)[0] == b"1" * 60


def test_a_second_program_is_refused_and_told_why(folder: Path) -> None:
    with Spool(folder), pytest.raises(StorageFailed, match="Another Cupola"):
        Spool(folder)
    Spool(folder).close()


def test_a_damaged_state_is_no_reason_to_begin_anew(folder: Path) -> None:
    Spool(folder).close()
    (folder / "state.json").write_text("{")
    with pytest.raises(StorageFailed, match="damaged"):
        Spool(folder)


def test_a_new_incarnation_counts_from_one_and_the_old_ids_stay(folder: Path) -> None:
    with Spool(folder) as spool:
        spool.append([(b"x", 1)] * 10)
        spool.renew(5, 8)
        assert [str(spool.id_of(sequence)) for sequence in (7, 8, 11)] == ["1-7", "5-1", "5-4"]
    with Spool(folder) as spool:
        assert spool.incarnation == 5
        for id_, upto in (("0-0", 0), ("1-3", 3), ("1-99", 7), ("4-1", 7), ("5-0", 7), ("5-2", 9), ("5-77", 10), ("6-1", 10)):
            assert spool.upto(Id.parse(id_)) == upto, id_
        spool.free(9)
        assert (str(spool.id_of(10)), spool.upto(Id(4, 1))) == ("5-3", 7)
        spool.renew(9, 11)
        spool.free(10)
        assert str(spool.id_of(11)) == "9-1"


def test_a_full_disk_takes_nothing_back_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    with Spool(small_disk / "spool") as spool:
        spool.append([(b"kept", 1)])
        filler = small_disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

        def append_much() -> None:
            for _ in range(100):
                spool.append([(os.urandom(10_000), 1)])

        with pytest.raises(StorageFull):
            append_much()
        before = payloads(spool)
        assert (before[0], spool.next) == (b"kept", len(before) + 1)
        filler.unlink()
        assert spool.append([(b"on", 1)]) == len(before) + 1
    with Spool(small_disk / "spool") as spool:
        assert payloads(spool) == [*before, b"on"]
