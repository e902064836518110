"""Which camera a configuration means, and what is attached at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cupola.core.errors import CameraBusy, CameraNotFound, CupolaError
from cupola.drivers.found import Found
from cupola.drivers.gphoto_body import Body, attached, library

_HINT = "Switch it on, set its USB mode to PTP (not mass storage), disable its automatic power-off, and check the cable"


def find(gp: Any, options: Mapping[str, Any]) -> Body:
    """The body that `serial` or `port` names, or the only one; opened. Raises CameraNotFound, CameraBusy."""
    serial, port = options.get("serial"), options.get("port")
    seen = attached(gp)
    if not seen:
        raise CameraNotFound(f"No camera answers on USB. {_HINT}.")
    if port is not None:
        seen = [(model, at) for model, at in seen if at == port]
        if not seen:
            raise CameraNotFound(f"There is no camera at the port {port}; there are: {_list(attached(gp))}. {_HINT}, or name another port.")
    if serial is None:
        if len(seen) > 1:
            raise CameraNotFound(f"Several cameras are attached: {_list(seen)}. Name one by its serial; `cupola cameras` lists them.")
        body = Body(gp, *seen[0])
        body.open()
        return body
    return _with_serial(gp, seen, str(serial))


def _with_serial(gp: Any, seen: list[tuple[str, str]], serial: str) -> Body:
    others: list[str] = []
    busy: CameraBusy | None = None
    for model, port in seen:
        body = Body(gp, model, port)
        try:
            body.open()
            has = serial_of(body)
        except CameraBusy as error:
            busy = error  # it may be the one
            continue
        except CupolaError:
            body.close()
            continue
        if has == serial:
            return body
        body.close()
        others.append(f"{model} with {has or 'no serial'}")
    if busy is not None:
        raise busy
    found = ", ".join(others) or "none that answers"
    raise CameraNotFound(f"No camera with the serial {serial} is attached; there is: {found}. Check the serial, or the cable of that camera.")


def serial_of(body: Body) -> str | None:
    """The serial number as the camera tells it, without the zeros some pad it with; None of those that tell none."""
    text = str(body.value("eosserialnumber") or body.value("serialnumber") or "").strip()
    return text.lstrip("0").lstrip() if text.isdigit() and text.strip("0") else (text if text.strip("0") else None)


def _list(seen: list[tuple[str, str]]) -> str:
    return ", ".join(f"{model} at {port}" for model, port in seen)


def discover() -> list[Found]:
    """Cameras on USB. Each is opened for a moment to read its serial; one in use is told without it."""
    gp = library()
    found: list[Found] = []
    for model, port in attached(gp):
        body = Body(gp, model, port)
        try:
            body.open()
            serial = serial_of(body)
            speeds = body.choices("shutterspeed")
            abilities = ("live view",) if body.can_preview() else ()
            shown = (f"{len(speeds)} shutter speeds", *abilities) if speeds else abilities
            found.append(Found("gphoto", model, serial, port, shown, {"serial": serial} if serial else {"port": port}))
        except CupolaError as error:
            found.append(Found("gphoto", model, None, port, (), {"port": port}, str(error)))
        finally:
            body.close()
    return found
