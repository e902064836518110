"""The files of /proc, /sys and /run of a Raspberry Pi 4 that is well, to be looked at in place of this machine's; a test changes one of them."""

from __future__ import annotations

from pathlib import Path

FILES = {
    "proc/meminfo": "MemTotal:        3884360 kB\nMemFree:          912340 kB\nMemAvailable:    2784360 kB\nSwapTotal:        102396 kB\nSwapFree:         102396 kB\n",
    "proc/loadavg": "0.52 0.48 0.40 1/180 2044\n",
    "proc/cpuinfo": "".join(f"processor\t: {number}\nmodel name\t: ARMv8 Processor rev 3 (v8l)\n\n" for number in range(4)),
    "proc/vmstat": "nr_free_pages 228085\noom_kill 0\n",
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "proc/self/mountinfo": "21 1 179:2 / / rw,noatime shared:1 - ext4 /dev/mmcblk0p2 rw\n",
    "run/systemd/timesync/synchronized": "",
    "sys/class/rtc/rtc0/name": "rtc-ds1307 1-0068\n",
    "sys/class/hwmon/hwmon0/name": "cpu_thermal\n",
    "sys/class/hwmon/hwmon0/temp1_input": "48312\n",
    "sys/class/hwmon/hwmon1/name": "rpi_volt\n",
    "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "0\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
    "sys/fs/ext4/mmcblk0p2/errors_count": "0\n",
    "sys/block/mmcblk0/device/life_time": "0x01 0x01\n",
    "sys/block/mmcblk0/device/pre_eol_info": "0x01\n",
    "sys/module/usbcore/parameters/usbfs_memory_mb": "200\n",
    "sys/bus/usb/devices/usb1/1-0:1.0/usb1-port1/over_current_count": "0\n",
}


def raspberry(root: Path, **changes: str | None) -> Path:
    """The files below `root`, with some changed, or left out (None); in their names `/` is written as `__`."""
    for name, text in {**FILES, **{name.replace("__", "/"): text for name, text in changes.items()}}.items():
        if text is not None:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return root
