"""Checks that hang, crash or fail are findings, and hold up no others."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from cupola.core.errors import CupolaError
from cupola.doctor.bounded import Check, examined
from cupola.doctor.finding import Told, worst_first
from cupola.doctor.patient import Patient

PATIENT = Patient(lambda path: None)


def well(patient: Patient, told: Told) -> None:
    told.saw("all is well")
    told.facts["seen"] = True


def hangs(patient: Patient, told: Told) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    time.sleep(600)


def crashes(patient: Patient, told: Told) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def fails(patient: Patient, told: Told) -> None:
    raise CupolaError("The bus is cut.")


def mistaken(patient: Patient, told: Told) -> None:
    raise KeyError("nothing")


def run(*looks: Any, limit_s: float = 30.0) -> dict[str, Told]:
    checks = [Check(look.__name__, look, 1.0 if look is hangs else limit_s, "Replace it.") for look in looks]
    return {told.part: told for told in examined(checks, PATIENT)}


def test_a_check_that_hangs_is_a_finding_and_the_others_are_looked_at() -> None:
    began = time.monotonic()
    told = run(hangs, well, crashes, fails, mistaken)
    assert time.monotonic() - began < 60
    assert (told["well"].ok, told["well"].words, told["well"].facts) == (True, ["all is well"], {"seen": True})
    levels = {part: [(one.level, one.what) for one in found.findings] for part, found in told.items()}
    assert levels["hangs"] == [("error", "Looking at hangs did not end within 1 s: what it looks at hangs.")]
    assert levels["fails"] == [("error", "The bus is cut.")]
    assert levels["crashes"][0][0] == levels["mistaken"][0][0] == "warning"
    assert told["hangs"].findings[0].fix == "Replace it."


def test_no_process_of_a_hung_check_stays(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    def starts_another(patient: Patient, told: Told) -> None:
        other = subprocess.Popen(["sleep", "600"])
        pids.write_text(f"{os.getpid()} {other.pid}")
        time.sleep(600)

    (told,) = examined([Check("bus", starts_another, 5.0, "Replace it.")], PATIENT)
    assert not told.ok
    own, other = map(int, pids.read_text().split())
    assert not psutil.pid_exists(own)
    psutil.wait_procs([psutil.Process(other)] if psutil.pid_exists(other) else [], 10)
    assert not psutil.pid_exists(other) or psutil.Process(other).status() == psutil.STATUS_ZOMBIE


def test_much_that_is_told_gets_through() -> None:
    def talks(patient: Patient, told: Told) -> None:
        for number in range(5000):
            told.note(f"finding {number} {'x' * 100}", "Nothing.")

    (told,) = examined([Check("much", talks, 60.0, "")], PATIENT)
    assert len(told.findings) == 5000 and told.ok


def test_the_worst_comes_first_and_causes_before_what_follows() -> None:
    disk, camera = Told("disk"), Told("camera")
    disk.warning("slow", "wait")
    disk.error("full", "delete")
    camera.error("no image", "look")
    assert [finding.what for finding in worst_first([disk, camera])] == ["full", "no image", "slow"]


def test_a_machine_that_starts_no_further_process_is_the_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    before = psutil.Process().num_fds()
    monkeypatch.setattr(os, "fork", none_left)
    told = run(well, fails)
    assert [one.findings[0].what for one in told.values()] == [
        f"No process can be started to look at {part} (Resource temporarily unavailable)." for part in ("well", "fails")
    ]
    assert psutil.Process().num_fds() == before


def test_what_a_server_of_another_version_leaves_out_is_no_mistake() -> None:
    (told,) = examined([Check("mistaken", mistaken, 30.0, "")], replace(PATIENT, facts={"status": {"version": "0.0.1"}}))
    assert "What version 0.0.1, which runs, says about mistaken is not understood." in told.findings[0].what
