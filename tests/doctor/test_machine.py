"""What the files of a machine say, with one thing wrong each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.machine import raspberry

from cupola.config.load import from_text
from cupola.core.errors import CupolaError
from cupola.doctor import disk, machine
from cupola.doctor.finding import Told
from cupola.doctor.patient import Patient


def nobody(path: str) -> Any:
    raise CupolaError(f"nobody answers {path}")


def patient(root: Path, folder: Path | None = None) -> Patient:
    settings = None if folder is None else from_text("storage: {root: images}\nlogging: {folder: images/logs}\n", "cupola.yaml", folder)
    return Patient(nobody, settings, root=root)


def found(check: Any, root: Path, folder: Path | None = None) -> list[tuple[str, str]]:
    told = Told("it")
    check(patient(root, folder), told)
    assert all(finding.fix for finding in told.findings)
    return [(finding.level, finding.what) for finding in told.findings]


ONE_FAULT = [
    (machine.power, "sys__class__hwmon__hwmon1__in0_lcrit_alarm", "1\n", "error", "supply is too weak"),
    (machine.power, "sys__devices__platform__soc__soc:firmware__get_throttled", "50005\n", "error", "supply is too weak"),
    (machine.power, "sys__devices__platform__soc__soc:firmware__get_throttled", "50000\n", "warning", "was too weak"),
    (machine.power, "sys__devices__platform__soc__soc:firmware__get_throttled", "80008\n", "warning", "slowed down now, at 48 °C"),
    (machine.power, "sys__class__hwmon__hwmon0__temp1_input", "84000\n", "warning", "84 °C, above 80 °C"),
    (
        machine.power,
        "sys__bus__usb__devices__usb1__1-0:1.0__usb1-port1__over_current_count",
        "3\n",
        "warning",
        "usb1-port1 has cut the power 3 times",
    ),
    (machine.clock, "run__systemd__timesync__synchronized", None, "warning", "not synchronised"),
    (machine.clock, "sys__class__rtc__rtc0__name", None, "note", "after a power cut"),
    (
        machine.memory,
        "proc__meminfo",
        "MemTotal: 948000 kB\nMemAvailable: 90000 kB\nSwapTotal: 100 kB\nSwapFree: 100 kB\n",
        "warning",
        "91 % of 0.9 GB",
    ),
    (machine.memory, "proc__meminfo", "MemTotal: 448000 kB\nMemAvailable: 290000 kB\n", "note", "no swap"),
    (machine.memory, "proc__vmstat", "oom_kill 2\n", "warning", "killed 2 programs"),
    (machine.memory, "proc__loadavg", "9.0 9.1 9.2 3/180 2044\n", "note", "9.2 programs"),
]


@pytest.mark.parametrize(("check", "name", "text", "level", "words"), ONE_FAULT)
def test_one_fault_is_one_finding(tmp_path: Path, check: Any, name: str, text: str | None, level: str, words: str) -> None:
    (told,) = found(check, raspberry(tmp_path, **{"run__systemd__timesync__clock": "", name: text}))
    assert told[0] == level and words in told[1], told


@pytest.mark.parametrize("check", [machine.power, machine.clock, machine.memory])
def test_a_machine_that_is_well_has_none(tmp_path: Path, check: Any) -> None:
    assert found(check, raspberry(tmp_path)) == []


@pytest.mark.parametrize("check", [machine.power, machine.memory, machine.clock])
def test_a_machine_that_tells_nothing_has_none(tmp_path: Path, check: Any) -> None:
    assert found(check, tmp_path) == []


def test_damaged_files_of_the_kernel_are_no_reason_to_fail(tmp_path: Path) -> None:
    names = ("proc__meminfo", "proc__loadavg", "proc__vmstat", "sys__devices__platform__soc__soc:firmware__get_throttled", "proc__self__mountinfo")
    root = raspberry(tmp_path, **dict.fromkeys(names, "\x01 - rubbish: x\n"))
    for check in (machine.power, machine.clock, machine.memory):
        assert all(level != "error" for level, _ in found(check, root))
    assert disk.mount_of(patient(root), tmp_path) is None


ONE_BAD_DISK = [
    ("proc__self__mountinfo", "21 1 179:2 / / ro,noatime - ext4 /dev/mmcblk0p2 ro\n", "error", "read-only"),
    ("proc__self__mountinfo", "21 1 0:2 / / rw - tmpfs tmpfs rw\n", "warning", "lies in memory"),
    ("proc__self__mountinfo", "21 1 8:1 / / rw - exfat /dev/sda1 rw\n", "warning", "exfat"),
    ("proc__self__mountinfo", "21 1 8:1 / / rw,sync - ext4 /dev/sda1 rw\n", "warning", "with sync"),
    ("sys__fs__ext4__mmcblk0p2__errors_count", "7\n", "error", "has 7 errors"),
    ("sys__block__mmcblk0__device__life_time", "0x0b 0x02\n", "error", "end of its life"),
    ("sys__block__mmcblk0__device__life_time", "0x09 0x02\n", "warning", "used 90 % of its life"),
    ("sys__block__mmcblk0__device__pre_eol_info", "0x02\n", "warning", "of its life"),
]


@pytest.mark.parametrize(("name", "text", "level", "words"), ONE_BAD_DISK)
def test_one_fault_of_a_disk_comes_first(tmp_path: Path, name: str, text: str, level: str, words: str) -> None:
    (tmp_path / "images" / "logs").mkdir(parents=True)
    told = found(disk.check, raspberry(tmp_path / "machine", **{name: text}), tmp_path)
    assert told[0][0] == level and words in told[0][1], told


def test_the_disk_of_a_folder_is_found_by_the_longest_mount(tmp_path: Path) -> None:
    folder = tmp_path / "a b" / "images"
    folder.mkdir(parents=True)
    lines = [
        "21 1 179:2 / / rw - ext4 /dev/mmcblk0p2 rw",
        f"22 21 8:17 / {str(tmp_path).replace(' ', chr(92) + '040')}/a\\040b rw - ext4 /dev/sdb1 rw",
        "23 21 0:5 / /dev rw - devtmpfs udev rw",
    ]
    mount = disk.mount_of(patient(raspberry(tmp_path / "machine", proc__self__mountinfo="\n".join(lines))), folder / "not there yet")
    assert mount is not None and (mount.point, mount.device, mount.whole) == (tmp_path / "a b", "sdb1", "sdb")


def test_measuring_a_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    found(disk.check, raspberry(tmp_path / "machine"), tmp_path)
    assert list((tmp_path / "images").iterdir()) == []
