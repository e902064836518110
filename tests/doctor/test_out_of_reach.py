"""Folders that lead nowhere, or that this user may not look into, are findings: never a mistake of the program, and never passed over."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from tests.support.machine import raspberry
from tests.support.station import cupola

from cupola.config.load import from_text
from cupola.core.errors import StorageFailed
from cupola.doctor import access, disk, tuning
from cupola.doctor.bounded import Check, look
from cupola.doctor.finding import Told
from cupola.doctor.patient import Patient

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights and links")


@contextmanager
def without_rights(folder: Path) -> Iterator[None]:
    """Nobody may look into the folder; root could all the same, and is somebody else meanwhile."""
    before = os.geteuid()
    folder.chmod(0)
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)
        folder.chmod(0o700)


def seen(check: object, folder: Path, text: str, closed: Path | None = None) -> Told:
    settings = from_text(text + "\ncameras: []\n", "cupola.yaml", folder)
    patient = Patient(lambda path: None, settings, root=raspberry(folder / "machine"))
    with without_rights(closed) if closed is not None else nullcontext():
        return look(Check("part", check, 30, ""), patient)  # type: ignore[arg-type]


@pytest.mark.parametrize("target", ["unplugged", "images"])
def test_images_behind_a_link_that_leads_nowhere_are_an_error(tmp_path: Path, target: str) -> None:
    (tmp_path / "images").symlink_to(target)
    told = seen(disk.check, tmp_path, "storage: {root: images}")
    assert told.findings[0].level == "error"
    assert f"{tmp_path / 'images'} cannot be used: it is a link to {target}, which is not there" in told.findings[0].what
    with pytest.raises(StorageFailed, match=f"a link to {target}, which is not there"):
        tuning.measure(from_text("storage: {root: images}\ncameras: []\n", "cupola.yaml", tmp_path), {}, lambda words: None)
    assert not list(tmp_path.glob(".cupola-tune-*"))


def test_images_in_a_folder_of_somebody_else_are_an_error_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "closed" / "images").mkdir(parents=True)
    told = seen(disk.check, tmp_path, "storage: {root: closed/images}", closed=tmp_path / "closed")
    assert told.findings[0].level == "error" and "Permission denied" in told.findings[0].what, told
    assert all("mistake" not in finding.fix for finding in told.findings)


@pytest.mark.parametrize("check", [access.secrets, access.certificate])
def test_secrets_of_somebody_else_are_no_finding(tmp_path: Path, check: object) -> None:
    (tmp_path / "closed" / "secrets").mkdir(parents=True)
    told = seen(check, tmp_path, "storage: {state: closed}\nweb: {tls: {mode: self_signed}}", closed=tmp_path / "closed")
    assert told.ok and told.words, told


def test_a_catalogue_that_cannot_be_looked_at_costs_the_gaps_of_images_only(tmp_path: Path) -> None:
    (tmp_path / "cupola.yaml").write_text(f"storage: {{state: {'x' * 300}}}\nlogging: {{folder: logs}}\ncameras: []\n")
    (tmp_path / "logs").mkdir()
    done = cupola(tmp_path, "logs")
    assert done.returncode == 0 and "0 records" in done.stdout, done.stderr
