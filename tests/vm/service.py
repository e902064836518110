"""Runs inside the virtual machine: the service under a real systemd takes a still from the kernel's /dev/video0 (vivid), and has no other device."""

import json
import sys
import tempfile
from pathlib import Path

from tests.support.station import eventually
from tests.support.systemd import Systemd, booted

CONFIG = """
storage: {root: /var/lib/cupola, min_free_percent: 0, reserve_mb: 1}
logging: {folder: /var/log/cupola}
cameras:
  - name: webcam
    driver: video
    video: {source: /dev/video0, input_format: yuyv, width: 320, height: 180, timeout_s: 60}
"""


def tried(machine: Systemd) -> None:
    machine.run("mkdir", "-p", "/etc/cupola")
    machine.run("tee", "/etc/cupola/cupola.yaml", text=CONFIG)
    machine.write(
        "/etc/systemd/system/cupola.service.d/test.conf", "[Service]\nStandardOutput=file:/run/said\nStandardError=inherit\nWatchdogSec=300\n"
    )
    # In a virtual machine without udev, nobody gave the device to its group.
    machine.run("sh", "-c", "chgrp video /dev/video*; chmod 660 /dev/video*")
    done = machine.cupola("service", "install", "--config", "/etc/cupola/cupola.yaml")
    print(done.stdout, done.stderr, flush=True)
    assert done.returncode == 0

    def still() -> bool:
        machine.cupola("connect", "webcam")
        return machine.cupola("snap", "webcam", "-o", "/run/snap.jpg").returncode == 0

    eventually(still, 400)
    pictures = machine.run("find", "/var/lib/cupola/webcam", "-name", "*.jpg").stdout.split()
    print(json.dumps({"pictures": pictures, "user": machine.run("stat", "-c", "%U", pictures[0]).stdout.strip()}), flush=True)


def main() -> int:
    folder = Path(tempfile.mkdtemp())
    with booted(folder) as machine:
        try:
            tried(machine)
        except BaseException:
            print(machine.run("sh", "-c", "systemctl status cupola; tail -n 30 /run/said /var/log/cupola/cupola.log").stdout)
            print((folder / "systemd.log").read_text()[-2000:])
            raise
    print("the service drives /dev/video0")
    return 0


if __name__ == "__main__":
    sys.exit(main())
