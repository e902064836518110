"""`cupola doctor` beside a real station with one fault at a time: the fault is the first finding, and the exit code 1."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support import ext4
from tests.support.fast_clock import FastClock
from tests.support.machine import raspberry
from tests.support.sink import Sink
from tests.support.station import RunningStation, environment, eventually, free_port, running_station

needs_disk = pytest.mark.skipif(bool(missing := ext4.missing_feature()), reason=str(missing))


@dataclass
class Patient:
    """A running station, on a disk of its own where that can be had, and the files of a machine that is well."""

    station: RunningStation
    machine: Path
    disk: ext4.Disk | None

    def doctor(
        self, *arguments: str, config: str = "cupola.yaml", machine: Path | None = None, program: tuple[str, ...] = ("-m", "cupola"), **more: str
    ) -> tuple[int, dict[str, Any]]:
        """Its exit code and what it says."""
        command = [sys.executable, *program, "doctor", *arguments, "--json", "--config", config, "--root", str(machine or self.machine)]
        folder = self.station.folder
        done = subprocess.run(command, cwd=folder, env=environment(folder) | more, capture_output=True, text=True, timeout=300)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def first(self, *arguments: str, **more: Any) -> tuple[str, str]:
        """Part and words of the first finding, where there is an error or a warning."""
        code, told = self.doctor(*arguments, **more)
        assert code == 1 and not told["ok"], told
        assert all(finding["fix"] for finding in told["findings"])
        return told["findings"][0]["part"], told["findings"][0]["what"]

    def variant(self, name: str, more: str, camera: str = "") -> str:
        """The station's configuration with more groups, or one more camera, as a file that its owner alone may read."""
        text = (self.station.folder / "cupola.yaml").read_text()
        file = self.station.folder / f"{name}.yaml"
        file.write_text(text.replace("\nweb:", f"\n{camera}\nweb:", 1) + more)
        file.chmod(0o600)
        return file.name


def _snapped(station: RunningStation) -> bool:
    """On a very busy machine the camera may miss a deadline: it comes back by itself."""
    try:
        return bool(station.snap())
    except AssertionError:
        return False


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    folder = tmp_path_factory.mktemp("patient")
    with ExitStack() as stack:
        disk = None
        if not ext4.missing_feature():
            disk = ext4.Disk(tmp_path_factory.mktemp("disk"), 128)
            disk.folder = folder / "images"
            disk.folder.mkdir()
            stack.enter_context(disk.mounted())
        busy = "alarms: {cpu_percent: null, memory_percent: null, threads: null, processing_s: null}"  # the machine may be, for other reasons
        after = f"monitoring: {{status_port: {free_port()}}}\n{busy}\n"
        station = stack.enter_context(running_station(folder, after=after))
        eventually(lambda: _snapped(station), 400)
        yield Patient(station, raspberry(tmp_path_factory.mktemp("machine")), disk)


def test_a_healthy_station_has_nothing_and_exit_0(patient: Patient) -> None:
    code, told = patient.doctor()
    assert (code, told["ok"]) == (0, True), told["findings"]
    assert [finding for finding in told["findings"] if finding["level"] != "note"] == []
    wanted = "config power disk server cameras clock memory secrets tls notify redis devices service status-server versions"
    assert list(told["parts"]) == wanted.split()
    assert all(part["saw"] and part["ok"] for part in told["parts"].values())
    assert "running" in " ".join(told["parts"]["cameras"]["saw"]) and "MB/s" in " ".join(told["parts"]["disk"]["saw"])


def test_a_broken_configuration(patient: Patient) -> None:
    part, what = patient.first(config=patient.variant("broken", "storrage: {root: x}\n"))
    assert part == "config" and "storrage" in what


def test_a_configuration_that_is_not_there(patient: Patient) -> None:
    assert patient.first(config="nowhere.yaml")[0] == "config"


def test_a_password_that_everybody_may_read(patient: Patient) -> None:
    with Sink() as sink:
        name = patient.variant("open", _channel(f"http://me:hunter2hunter2@127.0.0.1:{sink.port}/x"))
        (patient.station.folder / name).chmod(0o644)
        part, what = patient.first(config=name)
    assert part == "secrets" and name in what and "hunter2" not in what


def test_secrets_that_others_may_use(patient: Patient) -> None:
    secrets = patient.station.images / ".cupola" / "secrets"
    secrets.chmod(0o755)
    try:
        part, what = patient.first()
    finally:
        secrets.chmod(0o700)
    assert part == "secrets" and str(secrets) in what


def _channel(url: str) -> str:
    return f'notify: {{channels: [{{name: pager, webhook: "{url}", loopback: true}}]}}\n'


def test_a_channel_that_cannot_be_reached_and_no_message_is_sent(patient: Patient) -> None:
    part, what = patient.first(config=patient.variant("unheard", _channel(f"http://127.0.0.1:{free_port()}/x")))
    assert part == "notify" and "pager" in what
    with Sink() as sink:
        code, _ = patient.doctor(config=patient.variant("heard", _channel(f"{sink.url}/x")))
        assert (code, sink.got) == (0, [])


def test_doctor_notify_sends_a_message_by_each_channel(patient: Patient) -> None:
    with Sink() as sink:
        name = patient.variant("told", _channel(f"{sink.url}/x"))
        code, told = patient.doctor("notify", config=name)
        assert (code, list(told["parts"])) == (0, ["notify"]) and sink.documents("/x")[0]["kind"] == "test"
        sink.answer = 500
        part, what = patient.first("notify", config=name)
    assert part == "notify" and "500" in what


def _tls(folder: Path, begin: datetime, days: int) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    private, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sky.example.org")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key()).serial_number(1)
    signed = made.not_valid_before(begin).not_valid_after(begin + timedelta(days=days)).sign(private, hashes.SHA256())
    (folder / "tls.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(
        private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "tls.key").chmod(0o600)
    return "tls: {mode: files, certificate: tls.pem, key: tls.key}"


@pytest.mark.parametrize(("begins", "days", "words"), [(-100, 90, "expired"), (-80, 90, "expires on"), (2, 90, "valid from")])
def test_a_certificate_out_of_its_time(patient: Patient, begins: int, days: int, words: str) -> None:
    tls = _tls(patient.station.folder, datetime.now(UTC) + timedelta(days=begins), days)
    name = patient.variant("encrypted", "")
    file = patient.station.folder / name
    file.write_text(file.read_text().replace("max_viewers:", f"{tls}, max_viewers:"))
    part, what = patient.first("tls", config=name)
    assert part == "tls" and words in what
    if words == "expired":
        assert patient.first(config=name)[0] == "tls"


CAMERAS = [
    ("{name: dome, driver: zwo}", "libASICamera2"),
    ('{name: dome, driver: video, video: {source: "http://127.0.0.1:1/cam"}}', "127.0.0.1:1"),
    ("{name: dome, driver: video, video: {source: /dev/video99}}", "/dev/video99"),
    ("{name: dome, driver: replay, replay: {path: nowhere}}", "nowhere"),
    ("{name: dome, driver: indi, indi: {host: 127.0.0.1, port: 1}}", "127.0.0.1:1"),
]


@pytest.mark.parametrize(("camera", "words"), CAMERAS)
def test_a_camera_that_cannot_work(patient: Patient, camera: str, words: str) -> None:
    name = patient.variant("two", "", f"  - {camera}")
    part, what = patient.first("dome", config=name)
    assert part == "cameras" and what.startswith("dome: ") and words in what
    if "zwo" in camera:
        assert patient.first(config=name) == (part, what)


def test_an_image_that_is_not_what_was_stored(patient: Patient) -> None:
    newest = max(patient.station.images.glob("sky/**/jpg/*.jpg"))
    good = newest.read_bytes()
    newest.write_bytes(good[:-100] + bytes(100))
    try:
        part, what = patient.first()
    finally:
        newest.write_bytes(good)
    assert part == "cameras" and str(newest) in what and "checksum" in what


def test_a_weak_supply_and_a_clock_without_a_server(patient: Patient, tmp_path: Path) -> None:
    """Presented as the files of a Raspberry Pi; its supply was not made weak."""
    weak = raspberry(tmp_path / "weak", sys__class__hwmon__hwmon1__in0_lcrit_alarm="1\n")
    assert patient.first(machine=weak)[0] == "power"
    alone = raspberry(tmp_path / "alone", run__systemd__timesync__synchronized=None, run__systemd__timesync__clock="")
    assert patient.first(machine=alone)[0] == "clock"


def test_a_clock_that_cannot_be_right(patient: Patient, tmp_path: Path) -> None:
    clock = FastClock(tmp_path, datetime(1970, 1, 1, 0, 5, tzinfo=UTC), 1.0)
    part, what = patient.first("clock", **clock.environment)
    assert part == "clock" and "1970" in what


@needs_disk
def test_a_full_disk(patient: Patient) -> None:
    fill = patient.station.images / "fill"
    with fill.open("wb") as file:
        file.truncate(0)
        free = os.statvfs(patient.station.images)
        os.posix_fallocate(file.fileno(), 0, max(0, free.f_bavail * free.f_frsize - 500_000))
    try:
        part, what = patient.first()
    finally:
        fill.unlink()
    assert part == "disk" and "full" in what


IMPATIENT = """
from dataclasses import replace
from cupola.doctor import examine
examine.CHECKS = tuple(replace(check, limit_s=5) for check in examine.CHECKS)
from cupola.__main__ import main
main()
"""


@needs_disk
def test_a_disk_that_does_not_answer(patient: Patient) -> None:
    """With limits of 5 s rather than 30: it would hang for ever."""
    assert patient.disk is not None
    with patient.disk.stalled():
        code, told = patient.doctor("disk", program=("-c", IMPATIENT))
    assert code == 1 and "hangs" in told["findings"][0]["what"] and told["findings"][0]["part"] == "disk"


@contextmanager
def paused(process: subprocess.Popen[bytes]) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def test_a_server_that_hangs(patient: Patient) -> None:
    with paused(patient.station.process):
        part, what = patient.first()
    assert part == "server" and "paused" in what
    eventually(lambda: patient.doctor("server")[0] == 0, 60)


def test_a_part_that_does_not_exist_is_wrong_usage(patient: Patient) -> None:
    done = patient.station.cupola("doctor", "nothing")
    assert done.returncode == 2 and "power" in done.stderr and "sky" in done.stderr


def test_people_read_the_fault_first_and_what_to_type(patient: Patient) -> None:
    secrets = patient.station.images / ".cupola" / "secrets"
    secrets.chmod(0o755)
    try:
        done = patient.station.cupola("doctor", "secrets")
    finally:
        secrets.chmod(0o700)
    first, second, *_ = done.stdout.splitlines()
    assert done.returncode == 1 and first.startswith("error") and second.strip() == f"→ chmod go-rwx {secrets}"


def test_a_dead_server(patient: Patient) -> None:
    """The last test of this file: it ends the station."""
    process = patient.station.process
    process.kill()
    process.wait()
    eventually(lambda: not _children_of(patient.station.folder), 60)
    part, what = patient.first()
    assert part == "server" and "killed or crashed" in what


def _children_of(folder: Path) -> list[int]:
    found: list[int] = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("CUPOLA_RUNTIME_DIR") == str(folder / "runtime"):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
