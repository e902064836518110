"""What the running server tells the service manager: that it is ready, alive, and ending (sd_notify(3)).

The datagrams are written here, in twenty lines: no library of systemd's is needed. The unit that asks for them is
`cupola.service`'s business, ending the server when they stay away systemd's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterable, MutableMapping

from cupola.camera.supervisor import CameraSupervisor

READY_LOOK_S = 0.02
OVERDUE_S = 10.0  # so long after a deadline a supervisor must have acted


class ServiceManager:
    """The other end of $NOTIFY_SOCKET. Takes the variables out of the environment: they are not for child processes."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        meant = environment.pop("WATCHDOG_PID", str(os.getpid()))
        period = environment.pop("WATCHDOG_USEC", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = int(period) / 1e6 if period.isdecimal() and int(period) and meant == str(os.getpid()) else None

    def tell(self, words: str) -> None:
        """Never blocks and never fails: a manager that does not listen is no reason to stop."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(words.encode(), self._address)

    async def keep(self, serving: Callable[[], bool], cameras: Iterable[CameraSupervisor], log: Callable[..., None]) -> None:
        """READY once `serving`; from then on WATCHDOG for as long as this event loop turns and no camera's supervisor is overdue."""
        while not serving():
            await asyncio.sleep(READY_LOOK_S)
        self.tell("READY=1")
        if self.watchdog_s is None:
            await asyncio.Event().wait()
        silent = False
        while True:
            late = [camera.name for camera in cameras if camera.overdue_s > OVERDUE_S]
            if not late:
                self.tell("WATCHDOG=1")
            elif not silent:
                log("ERROR", f"Nobody looks after camera {', '.join(late)} any more: systemd will restart Cupola.", event="usb_failure")
            silent = bool(late)
            await asyncio.sleep((self.watchdog_s or 1.0) / 4)
