"""Runs checks so that none can hold up the others: each in a process of its own that is killed when its time is over.

A disk or a library that hangs takes a thread with it, and with that the whole program, for as long as the kernel waits; of a process it takes
that process only. Checks are forked off, since a start of Python for each would take a small machine half a minute. Where there is no
fork (Windows) they are threads that are left behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from cupola import __version__
from cupola.core.errors import CupolaError
from cupola.doctor.finding import Told
from cupola.doctor.patient import Patient

AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Check:
    """`look` tells what it finds; `limit_s`: longer than that means that what it looks at hangs. `fix`: what to do then."""

    part: str
    look: Callable[[Patient, Told], None]
    limit_s: float
    fix: str


@dataclass(slots=True)
class _Running:
    check: Check
    pid: int
    pipe: int
    began: float
    said: bytearray = field(default_factory=bytearray)


def examined(checks: Sequence[Check], patient: Patient) -> Iterator[Told]:
    """What each check found, as they end. `AT_ONCE` run at the same time, so that all end within the sum of their limits / `AT_ONCE`, and the longest."""
    if not hasattr(os, "fork"):
        yield from (_in_thread(check, patient) for check in checks)
        return
    waiting, running = list(checks), list[_Running]()
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                check = waiting.pop(0)
                try:
                    running.append(_start(check, patient, running))
                except OSError as error:
                    yield _not_started(check, error)
            for one in _ended(running) if running else ():
                running.remove(one)
                yield _read(one)
    finally:
        for one in running:
            _kill(one)


def look(check: Check, patient: Patient) -> Told:
    """Without a limit, here: what is raised is a finding too."""
    told, began = Told(check.part), time.monotonic()
    try:
        check.look(patient, told)
    except CupolaError as error:
        told.error(str(error), "Do what it says, then look again.")
    except Exception as error:
        running = {**patient.facts, **told.facts}.get("status", {}).get("version", __version__)
        if running == __version__:
            told.warning(f"Looking at {check.part} failed: {error!r}.", "This is a mistake in Cupola. Please report it with this line.")
        else:
            told.warning(f"What version {running}, which runs, says about {check.part} is not understood.", "Restart Cupola, then look again.")
    told.took_s = round(time.monotonic() - began, 2)
    return told


def _start(check: Check, patient: Patient, others: Sequence[_Running]) -> _Running:
    reading, writing = os.pipe()
    began = time.monotonic()
    try:
        pid = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        raise
    if pid:
        os.close(writing)
        return _Running(check, pid, reading, began)
    try:  # the child: its own group, so that what it started is killed with it
        os.setsid()
        for signal_ in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signal_, signal.SIG_DFL)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        for other in (*(one.pipe for one in others), reading):
            os.close(other)
        with os.fdopen(writing, "w", encoding="utf-8") as pipe:
            json.dump(look(check, patient).to_dict(), pipe, default=str)
        os._exit(0)
    finally:
        os._exit(1)


def _ended(running: Sequence[_Running]) -> list[_Running]:
    """Those that have said all, or whose time is over; waits until there is one."""
    with selectors.DefaultSelector() as selector:
        for one in running:
            selector.register(one.pipe, selectors.EVENT_READ, one)
        left_s = min(one.began + one.check.limit_s for one in running) - time.monotonic()
        done = list[_Running]()
        for key, _ in selector.select(max(0.0, left_s)):
            one: _Running = key.data
            if part := os.read(one.pipe, 65536):
                one.said += part
            else:
                done.append(one)
    now = time.monotonic()
    return done + [one for one in running if one not in done and now > one.began + one.check.limit_s]


def _read(one: _Running) -> Told:
    _kill(one)
    try:
        return Told.from_dict(json.loads(one.said))
    except ValueError:
        pass
    took_s = time.monotonic() - one.began
    if took_s > one.check.limit_s:
        return _hung(one.check)
    told = Told(one.check.part, took_s=round(took_s, 2))
    told.warning(f"The process that looked at {one.check.part} crashed.", one.check.fix)
    return told


def _hung(check: Check) -> Told:
    told = Told(check.part, took_s=check.limit_s)
    told.error(f"Looking at {check.part} did not end within {check.limit_s:g} s: what it looks at hangs.", check.fix)
    return told


def _not_started(check: Check, error: OSError) -> Told:
    told = Told(check.part)
    told.error(f"No process can be started to look at {check.part} ({error.strerror}).", "End what runs too often (ps -e), or restart the machine.")
    return told


def _kill(one: _Running) -> None:
    """One that waits for a disk dies when the kernel lets it: nobody waits for that."""
    with contextlib.suppress(OSError):
        os.close(one.pipe)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(one.pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        for _ in range(50):
            if os.waitpid(one.pid, os.WNOHANG)[0]:
                return
            time.sleep(0.01)


def _in_thread(check: Check, patient: Patient) -> Told:
    found: list[Told] = []
    thread = threading.Thread(target=lambda: found.append(look(check, patient)), daemon=True)
    thread.start()
    thread.join(check.limit_s)
    return found[0] if found else _hung(check)
