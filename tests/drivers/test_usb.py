"""Which USB port a camera hangs on, out of folders as the kernel has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cupola.drivers.usb import opened_port, port_of_video


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """Two cameras at a hub, and what this process has open: a log."""
    for name, bus, number in (("usb1", 1, 1), ("1-1", 1, 2), ("1-1.4", 1, 5), ("1-1.3", 1, 6), ("2-1", 2, 5)):
        folder = tmp_path / "devices" / name
        folder.mkdir(parents=True)
        (folder / "busnum").write_text(f"{bus}\n")
        (folder / "devnum").write_text(f"{number}\n")
    (tmp_path / "devices" / "1-1.4:1.0").mkdir()
    (tmp_path / "fd").mkdir()
    (tmp_path / "fd" / "3").symlink_to("/var/log/some.log")
    return tmp_path


def test_the_port_is_that_of_the_device_this_process_has_open(kernel: Path) -> None:
    assert opened_port(kernel / "fd", kernel / "devices") is None
    (kernel / "fd" / "9").symlink_to("/dev/bus/usb/001/005")
    (kernel / "fd" / "10").symlink_to("/dev/bus/usb/001/005")
    assert opened_port(kernel / "fd", kernel / "devices") == "1-1.4"


def test_of_two_open_devices_none_is_guessed(kernel: Path) -> None:
    for number, node in (("9", "001/005"), ("10", "001/006")):
        (kernel / "fd" / number).symlink_to(f"/dev/bus/usb/{node}")
    assert opened_port(kernel / "fd", kernel / "devices") is None


def test_a_device_that_has_gone_and_a_system_without_proc_have_no_port(kernel: Path) -> None:
    (kernel / "fd" / "9").symlink_to("/dev/bus/usb/001/099")
    assert opened_port(kernel / "fd", kernel / "devices") is None
    assert opened_port(kernel / "nowhere", kernel / "devices") is None


def test_a_webcam_is_at_the_port_of_its_interface(kernel: Path) -> None:
    for node, device in (("video0", "devices/1-1.4:1.0"), ("video7", "devices/usb1")):
        (kernel / "video" / node).mkdir(parents=True)
        (kernel / "video" / node / "device").symlink_to(kernel / device)
        (kernel / node).touch()
    (kernel / "by-id").symlink_to(kernel / "video0")
    assert port_of_video(str(kernel / "video0"), kernel / "video") == port_of_video(str(kernel / "by-id"), kernel / "video") == "1-1.4"
    assert port_of_video(str(kernel / "video7"), kernel / "video") is None, "the Pi's own camera, for one, is on no USB"
    assert port_of_video("/dev/video99", kernel / "video") is None
