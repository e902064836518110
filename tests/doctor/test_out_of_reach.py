"""Folders that lead nowhere, or that this user may not look into, are findings: never a mistake of the program, and never passed over."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import pytest
from tests.support.machine import raspberry
from tests.support.station import cupola, environment

from cupola.config.load import find, from_text
from cupola.config.problems import ConfigNotFound
from cupola.core.errors import StorageFailed
from cupola.doctor import access, cameras, disk, tuning
from cupola.doctor.bounded import Check, examined, look
from cupola.doctor.finding import Told
from cupola.doctor.patient import Patient
from cupola.doctor.selftest import steps

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


def test_many_cameras_that_do_not_answer_are_each_named(tmp_path: Path) -> None:
    """Addresses that take a connection into a queue that is full: one after the other they took longer than the check may."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf, ExitStack() as waiting:
        port = deaf.getsockname()[1]
        for _ in range(3):
            full = waiting.enter_context(socket.socket())
            full.setblocking(False)
            full.connect_ex(("127.0.0.1", port))
        video = [f"{{name: c{number}, driver: video, video: {{source: 'rtsp://127.0.0.1:{port}/{number}'}}}}" for number in range(20)]
        settings = from_text(f"cameras: [{', '.join(video)}]", "cupola.yaml", tmp_path)
        (told,) = examined([Check("cameras", cameras.check, 60, "")], Patient(lambda path: None, settings))
    assert [finding.camera for finding in told.findings] == [f"c{number}" for number in range(20)], told
    assert all(f"127.0.0.1:{port} cannot be reached" in finding.what for finding in told.findings)


def test_a_configuration_of_ones_own_that_is_out_of_reach_is_as_none(tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "cupola").mkdir(parents=True)
    with without_rights(own), pytest.raises(ConfigNotFound):
        find(env={"XDG_CONFIG_HOME": str(own)})


def test_a_folder_in_place_of_the_configuration_is_told_and_not_passed_over_for_the_demo(tmp_path: Path) -> None:
    (tmp_path / "cupola.yaml").mkdir()
    done = cupola(tmp_path, "config", "check")
    assert done.returncode == 1 and "cupola.yaml" in done.stderr + done.stdout, done


def test_a_working_folder_that_was_deleted_is_told(tmp_path: Path) -> None:
    command = f"mkdir gone home; cd gone; rmdir ../gone; exec {sys.executable} -m cupola doctor --json"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "working folder" in json.loads(done.stdout)["findings"][0]["what"], done.stderr


def test_a_selftest_without_a_place_for_its_files_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    (step,) = steps(lambda server, method, path, body, timeout_s: None, None, None)
    assert (step.name, step.ok) == ("start", False) and "No temporary folder" in step.words
