"""Finding ZWO's library, and what is said when it does not load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cupola.core.errors import LibraryMissing
from cupola.drivers import zwo_library
from cupola.drivers.zwo import discover
from tests.drivers.zwo_library import compiled, make_bench


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("zwo"))


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without the library, as far as that depends on us: the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ZWO_ASI_LIB", raising=False)
    return tmp_path


def elf_for(machine: int, source: Path, place: Path) -> Path:
    """A copy of a library whose header names another machine (e_machine)."""
    content = bytearray(source.read_bytes())
    content[18:20] = machine.to_bytes(2, "little")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return place


def test_a_path_to_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(LibraryMissing, match=r"There is no .*/libASICamera2.so, which the configuration names.*page for developers of ZWO"):
        zwo_library.load(str(tmp_path / "libASICamera2.so"))


@pytest.mark.parametrize(
    ("machine", "words"), [(40, "32-bit ARM"), (183, "64-bit ARM"), (3, "32-bit x86"), (62, "64-bit x86"), (243, "another machine")]
)
def test_a_library_for_another_machine_is_told_with_both_machines(tmp_path: Path, library: Path, machine: int, words: str) -> None:
    ours = zwo_library._this_machine()
    foreign = elf_for(machine, library, tmp_path / "libASICamera2.so")
    if words == ours:
        assert zwo_library.load(str(foreign)).path == str(foreign)
        return
    with pytest.raises(LibraryMissing, match=f"is for {words}.*, but this is {ours}.*lib/"):
        zwo_library.load(str(foreign))


def test_a_file_that_is_no_library_is_told(tmp_path: Path) -> None:
    path = tmp_path / "libASICamera2.so"
    path.write_text("<html>404</html>")
    with pytest.raises(LibraryMissing, match="does not load"):
        zwo_library.load(str(path))


def test_another_library_under_its_name_is_told(tmp_path: Path) -> None:
    path = tmp_path / "libASICamera2.so"
    subprocess.run(["cc", "-shared", "-o", str(path), "-xc", "-"], input=b"int answer = 42;", check=True)
    with pytest.raises(LibraryMissing, match="is not ZWO's camera library, or too old"):
        zwo_library.load(str(path))


@pytest.mark.parametrize("folder", [".local/lib", f"lib/{zwo_library._sdk_folder()}"])
def test_it_is_found_in_usual_places_and_one_for_another_machine_is_passed_over(nowhere: Path, library: Path, folder: str) -> None:
    foreign = 40 if zwo_library._this_machine() != "32-bit ARM" else 62
    elf_for(foreign, library, nowhere / ".local/lib/phd2/libASICamera2.so")
    place = nowhere / folder / "libASICamera2.so.1.41"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(library.read_bytes())
    assert str(place) in list(zwo_library._candidates())
    assert "phd2" not in zwo_library._find()


def test_where_to_get_it_is_told_when_it_is_nowhere_or_only_for_other_machines(nowhere: Path, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zwo_library, "_candidates", lambda: iter(()))
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(LibraryMissing, match=r"was not found. Download the ASI Camera SDK.*for this machine \(its folder lib/"):
        discover()
    foreign = elf_for(243, library, nowhere / "lib/libASICamera2.so")
    monkeypatch.setattr(zwo_library, "_candidates", lambda: iter([str(foreign)]))
    with pytest.raises(LibraryMissing, match="found only for other machines"):
        discover()


def test_loading_it_says_nothing_and_leaves_the_logs_alone(library: Path) -> None:
    program = (
        "import logging, sys; from cupola.drivers import zwo_library; loaded = zwo_library.load(sys.argv[1]);"
        "assert loaded.sdk._name == sys.argv[1]; assert not logging.getLogger().handlers; print(loaded.sdk.ASIGetNumOfConnectedCameras())"
    )
    done = subprocess.run([sys.executable, "-c", program, str(library)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_a_library_from_before_serial_numbers_works_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make_bench(tmp_path, compiled(tmp_path, "-DFAKE_ASI_OLD"), monkeypatch)
    camera = bench.camera()
    assert camera.open().serial is None
    camera.close()
