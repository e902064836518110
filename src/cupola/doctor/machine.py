"""Supply, throttling and heat; clock; memory and load: what the machine itself says, from /proc, /sys and its own programs.

The files of a Raspberry Pi are read as the kernel's documentation and the firmware's describe them; they were not seen on a real Pi that lacked power.
"""

from __future__ import annotations

import ctypes
import os
import re
from datetime import UTC, datetime

from cupola.config.sensors import Alarms
from cupola.doctor.finding import Told
from cupola.doctor.patient import Patient
from cupola.status.host import processor_sensor, temperature_c
from cupola.watch import sysfs

# bits of `vcgencmd get_throttled`, as the Raspberry Pi's documentation lists them; 16 higher: since the machine's start
UNDER_VOLTAGE, CAPPED, THROTTLED, SOFT_LIMIT, SINCE_START = 1, 2, 4, 8, 16
FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
SUPPLY = "Use the supply made for this Raspberry Pi, and a short cable; power disks and hubs by a supply of their own."
COOL = "Give it a heat sink or a fan, or more air; in a closed housing also less to do: cupola tune."
STA_UNSYNC = 0x40  # of adjtimex(2)
BUILT = datetime(2026, 1, 1, tzinfo=UTC)  # no clock can be before the program
SMALL_GB = 1.2


def power(patient: Patient, told: Told) -> None:
    """Under-voltage and throttling of a Raspberry Pi, over-current of USB ports, heat."""
    alarms = patient.settings.alarms if patient.settings else Alarms()
    bits = _throttled(patient)
    weak, celsius = sysfs.under_voltage(patient.path("sys")), temperature_c(processor_sensor(patient.path("sys")))
    if weak or bits & UNDER_VOLTAGE:
        told.error("The supply is too weak: the voltage is below 4.63 V now, and disks and cameras on USB may fail.", SUPPLY)
    elif bits & UNDER_VOLTAGE << SINCE_START:
        told.warning("The supply was too weak for a while since this machine started.", SUPPLY)
    elif bits & (THROTTLED | SOFT_LIMIT):  # else it follows from the supply
        told.warning(f"The processor is slowed down now{f', at {celsius:.0f} °C' if celsius else ''}.", COOL)
    elif celsius is not None and alarms.temperature_c is not None and celsius >= alarms.temperature_c:
        told.warning(f"The processor is at {celsius:.0f} °C, above {alarms.temperature_c:g} °C.", COOL)
    elif bits & (THROTTLED | SOFT_LIMIT) << SINCE_START:
        told.note("The processor was slowed down for a while since this machine started.", COOL)
    if celsius is not None:
        told.saw(f"processor at {celsius:.0f} °C")
    told.saw(
        "supply: " + ("not told by this machine" if weak is None and not bits and not _tells(patient) else "too weak" if weak else "strong enough")
    )
    _usb(patient, told)


def _tells(patient: Patient) -> bool:
    return patient.path(FIRMWARE).exists() or (patient.text("proc/device-tree/model") or "").startswith("Raspberry Pi")


def _throttled(patient: Patient) -> int:
    """0 where nobody tells."""
    text = patient.text(FIRMWARE)
    if text is None and (said := patient.program("vcgencmd", "get_throttled")) is not None:
        text = said.partition("=")[2]
    try:
        return int(text or "0", 16)
    except ValueError:
        return 0


def _usb(patient: Patient, told: Told) -> None:
    for count in sorted(patient.path("sys/bus/usb/devices").glob("usb*/*-0:1.0/usb*-port*/over_current_count")):
        times = patient.number(str(count.relative_to(patient.root)))
        if times:
            told.warning(
                f"USB port {count.parent.name} has cut the power {times} times since the start: what hangs on it draws too much.",
                "Put a hub with a supply of its own between, and the camera or disk on that.",
            )
    chosen = patient.path("proc/device-tree/chosen/power/max_current")  # of a Raspberry Pi 5, in mA, big-endian
    try:
        milliamperes = int.from_bytes(chosen.read_bytes(), "big")
    except OSError:
        return
    if 0 < milliamperes < 5000:
        told.note(
            f"This Raspberry Pi 5 has a supply of {milliamperes / 1000:g} A, and gives all of USB 0.6 A only.",
            "Use a supply of 5 A, or a hub with its own for cooled cameras and disks.",
        )


def clock(patient: Patient, told: Told) -> None:
    """Whether the wall clock is right: names of files, nights and twilight hang on it."""
    now = datetime.now(UTC)
    if now < BUILT:
        told.error(
            f"The clock says {now:%Y-%m-%d %H:%M} UTC, which cannot be.", "sudo timedatectl set-ntp true, and give the machine a network or a GPS."
        )
        return
    synced, how = _synced(patient)
    told.saw(f"{now:%Y-%m-%d %H:%M:%S} UTC, {how}")
    if synced is False:
        told.warning(
            f"The clock is not synchronised ({how}): times of images may be wrong, and nothing is deleted by its age.",
            "sudo timedatectl set-ntp true; then see: timedatectl timesync-status. Without a network: chrony with a GPS, or a real-time clock.",
        )
    rtc = patient.path("sys/class/rtc")
    if patient.path("proc/device-tree/model").exists() and not (rtc.is_dir() and any(rtc.iterdir())):
        told.note(
            "This machine has no clock that goes on while it is off: after a power cut its time is wrong until it has reached the network.",
            "Fit a real-time clock (DS3231), if the station has no network at times.",
        )


def _synced(patient: Patient) -> tuple[bool | None, str]:
    """And by whose word."""
    if patient.path("run/systemd/timesync/synchronized").exists():
        return True, "synchronised by systemd-timesyncd"
    said = patient.program("timedatectl", "show", "--property=NTPSynchronized", "--value")
    if said in ("yes", "no"):
        return said == "yes", "timedatectl says that it is synchronised" if said == "yes" else "timedatectl says no"
    if patient.path("run/systemd/timesync").is_dir():
        return False, "systemd-timesyncd has spoken to no server yet"
    unsynced = _kernel_unsynced() if patient.is_this_machine else None
    if unsynced is None:
        return None, "nobody tells whether it is synchronised"
    return not unsynced, "the kernel says that it is not disciplined" if unsynced else "disciplined, says the kernel"


def _kernel_unsynced() -> bool | None:
    """What adjtimex(2) says; None where there is no such call. `modes` 0: it changes nothing."""
    try:
        call = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    state = (ctypes.c_char * 512)()
    if call(ctypes.byref(state)) < 0:
        return None
    word = ctypes.sizeof(ctypes.c_long)
    status = ctypes.c_int.from_buffer(state, 5 * word)  # modes (padded), offset, freq, maxerror, esterror, status
    return bool(status.value & STA_UNSYNC)


def memory(patient: Patient, told: Told) -> None:
    """Memory, swap, what the kernel had to kill, and the load."""
    alarms = patient.settings.alarms if patient.settings else Alarms()
    kilobytes = {
        name: int(words[0])
        for name, _, rest in (line.partition(":") for line in (patient.text("proc/meminfo") or "").splitlines())
        if (words := rest.split()) and words[0].isdecimal()
    }
    total, free = kilobytes.get("MemTotal", 0), kilobytes.get("MemAvailable", 0)
    if not total:
        told.saw("this machine does not tell")
        return
    used = 100 * (1 - free / total)
    told.saw(f"{used:.0f} % of {total / 1e6:.1f} GB used")
    if alarms.memory_percent is not None and used >= alarms.memory_percent:
        told.warning(
            f"Memory runs short: {used:.0f} % of {total / 1e6:.1f} GB are used.",
            "See what takes it: ps aux --sort=-rss | head. Of Cupola it is preroll.max_mb, and the width of videos: cupola tune.",
        )
    swap, swap_free = kilobytes.get("SwapTotal", 0), kilobytes.get("SwapFree", 0)
    if swap and swap_free < swap / 2 and used >= 50:
        told.warning(
            f"{(swap - swap_free) / 1e6:.1f} of {swap / 1e6:.1f} GB of swap are in use: the machine is slow, and a card wears out.",
            "Run less on it, or lower preroll.max_mb; zram in place of a swap file spares the card.",
        )
    elif not swap and total < SMALL_GB * 1e6:
        told.note(f"There are {total / 1e6:.1f} GB of memory and no swap: a peak ends a program.", "Install zram: sudo apt install zram-tools")
    killed = next((int(line.split()[1]) for line in (patient.text("proc/vmstat") or "").splitlines() if re.fullmatch(r"oom_kill \d+", line)), 0)
    if killed:
        told.warning(
            f"Since its start the kernel has killed {killed} program{'s' if killed > 1 else ''} for lack of memory.",
            "See which: journalctl -k --grep='Out of memory'. Then lower preroll.max_mb or the resolution: cupola tune.",
        )
    _load(patient, told)


def _load(patient: Patient, told: Told) -> None:
    words = (patient.text("proc/loadavg") or "").split()
    processors = sum(line.startswith("processor") for line in (patient.text("proc/cpuinfo") or "").splitlines()) or os.cpu_count() or 1
    if len(words) > 2 and re.fullmatch(r"\d+\.\d+", words[2]) and (load := float(words[2])) > 2 * processors:
        told.note(
            f"For 15 minutes {load:.1f} programs have wanted to run at the same time; there are {processors} processors.",
            "See which: top. What this machine can carry: cupola tune",
        )
