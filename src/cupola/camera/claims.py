"""Which camera has which device open: with no serial number configured, two cameras may well open the same one."""

from __future__ import annotations


class Claims:
    """Shared by all supervisors of a station; devices are known by driver and serial number."""

    def __init__(self) -> None:
        self._holders: dict[tuple[str, str], str] = {}

    def claim(self, camera: str, driver: str, serial: str) -> str | None:
        """Take a device for a camera; None when it is free or this camera's already, else whom it belongs to and what to do."""
        holder = self._holders.setdefault((driver, serial), camera)
        if holder == camera:
            return None
        return f'Cameras "{holder}" and "{camera}" are the same device ({driver}, serial {serial}). Give each its own in the configuration.'

    def release(self, camera: str) -> None:
        """The camera has no device open any more."""
        self._holders = {device: holder for device, holder in self._holders.items() if holder != camera}
