"""All checks, in the order from causes to what follows from them: of two findings of one level, the cause comes first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cupola.doctor import access, cameras, devices, disk, machine, outward, server, versions
from cupola.doctor.bounded import Check, examined
from cupola.doctor.finding import Told
from cupola.doctor.patient import Patient

LOGS = "See journalctl -k -n 50: disks and USB devices that do not answer are named there."
DISK = "The disk does not answer. See journalctl -k -n 50 for its name; check its cable and supply, then restart the machine."
CHECKS = (
    Check("config", versions.config, 30, LOGS),
    Check("power", machine.power, 30, LOGS),
    Check("disk", disk.check, 30, DISK),
    Check("server", server.server, 30, LOGS),
    Check("cameras", cameras.check, 75, LOGS),
    Check("clock", machine.clock, 30, LOGS),
    Check("memory", machine.memory, 30, LOGS),
    Check("secrets", access.secrets, 30, DISK),
    Check("tls", access.certificate, 30, DISK),
    Check("notify", outward.notify, 150, "Check the network of this machine, and its name service: resolvectl status"),
    Check("redis", outward.redis, 30, "Check redis.url, and the network."),
    Check("devices", devices.check, 30, LOGS),
    Check("service", server.service, 30, "systemd does not answer: systemctl list-jobs"),
    Check("status-server", server.status_server, 30, "sudo systemctl restart cupola-status"),
    Check("versions", versions.versions, 30, DISK),
)
PARTS = tuple(check.part for check in CHECKS)
FIRST = ("server",)  # what it learns the others use


def examine(patient: Patient, parts: tuple[str, ...] = PARTS) -> Iterator[Told]:
    """What the wanted parts' checks find, as they end; the server is asked in any case, for what it knows of the others."""
    asked = [check for check in CHECKS if check.part in FIRST]
    for told in examined(asked, patient):
        patient = replace(patient, facts={**patient.facts, **told.facts})
        if told.part in parts:
            yield told
    yield from examined([check for check in CHECKS if check.part in parts and check.part not in FIRST], patient)


def in_order(told: list[Told]) -> list[Told]:
    """As in CHECKS."""
    return sorted(told, key=lambda one: PARTS.index(one.part))
